"""What a key may be: the types, keys and schemas of which `keys_*.py` are the tables and `decode` the reader.

The configuration reference (docs/config-reference.md) is printed from the same tables by `reference`.
"""

from __future__ import annotations

import math
from functools import cached_property

import msgspec


class Type(msgspec.Struct, frozen=True):
    """The base of the types a value can have."""


class Text(Type, frozen=True):
    """A string; a number is taken as its text. With `choices` only those, also in other letters with `fold`."""

    choices: tuple[str, ...] = ()
    fold: bool = False


class Whole(Type, frozen=True):
    """A whole number within bounds; a string of digits is taken as one."""

    minimum: int = 0
    maximum: int = 2**31 - 1


class Wholes(Type, frozen=True):
    """A list of whole numbers within bounds; a single one is a list of one."""

    minimum: int = 0
    maximum: int = 2**31 - 1


class Number(Type, frozen=True):
    """Any number within bounds."""

    minimum: float = 0.0
    maximum: float = math.inf


class Flag(Type, frozen=True):
    """true or false, also as strings."""


class Duration(Type, frozen=True):
    """A string like "10s" or "1h30m"; in an HTTP body also nanoseconds. Decoded to seconds."""

    minimum_s: float = 0.0


class Period(Type, frozen=True):
    """A duration that is kept as its text: as written, or in an HTTP body also nanoseconds, as Go prints them."""


class Texts(Type, frozen=True):
    """A list of strings; a single string is a list of one."""


class TextMap(Type, frozen=True):
    """An object of strings under keys of the user."""


class TextsMap(Type, frozen=True):
    """An object of lists of strings (HTTP headers)."""


class DurationMap(Type, frozen=True):
    """An object of durations under keys of the user."""


class Anything(Type, frozen=True):
    """Kept as written: the keys are somebody else's."""


class Open(Type, frozen=True):
    """A block whose keys are somebody else's, but for those of the schema, whose types are checked."""

    schema: Schema


class Block(Type, frozen=True):
    """One block of the schema."""

    schema: Schema


class Blocks(Type, frozen=True):
    """Blocks of the schema: a list, a single one, or the block repeated."""

    schema: Schema


class BlockMap(Type, frozen=True):
    """An object of blocks under keys of the user."""

    schema: Schema


class Objects(Type, frozen=True):
    """Objects whose meaning another reader knows (config entries); kept as trees."""


class Key(msgspec.Struct, frozen=True):
    """One key: its snake_case name, type, meaning, default in words, and whether chowk acts on it now.

    `also` are other names Consul has for it; `reload` says that a reload applies a change. `always` is what chowk does
    whatever is written: another value is a warning. A block without a `required` key is a problem.
    """

    name: str
    type: Type
    doc: str
    default: str = ""
    served: bool = True
    also: tuple[str, ...] = ()
    reload: bool = False
    always: bool | int | str | None = None
    required: bool = False


class Schema(msgspec.Struct, frozen=True, dict=True):
    """The keys of one block. `name` is how messages call it."""

    name: str
    keys: tuple[Key, ...]

    @cached_property
    def by_plain_name(self) -> dict[str, Key]:
        """Every spelling of every key, plainly written, to the key."""
        return {plain_name(name): key for key in self.keys for name in (key.name, *key.also)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The keys' own names, for the nearest one to a misspelling."""
        return tuple(key.name for key in self.keys)


def plain_name(key: str) -> str:
    """What `destination_name`, `DestinationName` and `destinationName` have in common."""
    return key.replace("_", "").lower()
