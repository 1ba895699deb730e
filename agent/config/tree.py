"""The tree that `parse` makes of HCL or JSON: values that know where they were written.

`decode` walks it; `from_plain` makes the same tree of an HTTP body, so that files and requests share one decoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from chowk.agent.config.problems import ConfigError, Problem
from chowk.core.definitions import Position

DEPTH_MAX = 64
"""Blocks and lists nest no deeper; every walk of a tree may therefore recurse."""

Plain = str | int | float | bool | None


class Scalar(msgspec.Struct, frozen=True):
    """A string, number, boolean or null."""

    value: Plain
    position: Position


class ListNode(msgspec.Struct, frozen=True):
    """`[ … ]`. `depth` is how deep the nodes below go."""

    items: tuple[Node, ...]
    position: Position
    depth: int = 1


class Entry(msgspec.Struct, frozen=True):
    """One `key = value` or `key { … }`; `position` is the key's."""

    key: str
    value: Node
    position: Position


class ObjectNode(msgspec.Struct, frozen=True):
    """`{ … }` or a whole file. A key may repeat (HCL's repeated blocks); in JSON it cannot."""

    entries: tuple[Entry, ...]
    position: Position
    depth: int = 1


Node = Scalar | ListNode | ObjectNode


def depth_of(nodes: Iterable[Node]) -> int:
    """The depth of a list or object holding `nodes`."""
    return 1 + max((0 if isinstance(node, Scalar) else node.depth for node in nodes), default=0)


def describe(node: Node) -> str:
    """What was found, in words for an error message."""
    if isinstance(node, ObjectNode):
        return "a block"
    if isinstance(node, ListNode):
        return "a list"
    match node.value:
        case None:
            return "null"
        case bool():
            return "true" if node.value else "false"
        case str():
            text = node.value if len(node.value) <= 40 else node.value[:37] + "..."
            return 'the string "' + text.replace("\n", "\\n") + '"'
        case _:
            return f"the number {node.value}"


def from_plain(value: Any) -> Node:
    """The tree of plain data (a decoded JSON body). ConfigError when it nests too deep or holds no JSON type."""
    return _from_plain(value, Position(), 0)


def _from_plain(value: Any, position: Position, depth: int) -> Node:
    if depth > DEPTH_MAX:
        raise ConfigError([Problem(position, f"lists and objects nest deeper than {DEPTH_MAX}")])
    if value is None or isinstance(value, (str, bool, int, float)):
        return Scalar(value, position)
    if isinstance(value, Mapping):
        entries = tuple(
            Entry(str(key), _from_plain(item, position, depth + 1), position) for key, item in value.items()
        )
        return ObjectNode(entries, position, depth_of(entry.value for entry in entries))
    if isinstance(value, (list, tuple)):
        items = tuple(_from_plain(item, position, depth + 1) for item in value)
        return ListNode(items, position, depth_of(items))
    raise ConfigError([Problem(position, f"a {type(value).__name__} cannot be configuration")])


def to_plain(node: Node) -> Any:
    """Plain data of a tree whose keys are the user's own (a proxy's `config`, say).

    A block given once is an object; the same block repeated is a list of objects, as HCL 1 has it.
    """
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, ListNode):
        return [to_plain(item) for item in node.items]
    grouped: dict[str, list[Any]] = {}
    for entry in node.entries:
        grouped.setdefault(entry.key, []).append(to_plain(entry.value))
    return {key: values[0] if len(values) == 1 else _joined(values) for key, values in grouped.items()}


def _joined(values: list[Any]) -> list[Any]:
    joined: list[Any] = []
    for value in values:
        joined.extend(value if isinstance(value, list) else [value])
    return joined
