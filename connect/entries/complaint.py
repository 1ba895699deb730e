"""What a rule has against a config entry, and against which part of it. Made by the rules of this room; `agent.config` finds
the file, line and column of the part, the servers name it as JSON does.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from chowk.core.records.base import json_name


class MapKey(str):
    """A step of a place into a map whose keys are the user's own."""


Place = tuple[str | int, ...]
"""From the entry down: names of fields of its records, indices of lists, MapKeys."""


class Complaint(msgspec.Struct, frozen=True):
    """`text` says what is wrong and what would be right."""

    place: Place
    text: str

    def __str__(self) -> str:
        path = named(self.place)
        return f"{path}: {self.text}" if path else self.text


Complaints = Iterator[Complaint]


def named(place: Place) -> str:
    """`("routes", 0, "match")` -> `Routes[0].Match`."""
    path = ""
    for step in place:
        match step:
            case int():
                path += f"[{step}]"
            case MapKey():
                path += f'["{step[:64]}"]'
            case _:
                path += ("." if path else "") + json_name(step)
    return path


def shown(text: str) -> str:
    """Text of the user's for a message: short, in quotes, of one line."""
    short = text if len(text) <= 48 else text[:45] + "..."
    return '"' + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in short) + '"'
