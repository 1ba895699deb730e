"""A tree to typed values, by a schema: the one reader of files, HTTP bodies and flags.

Consul's weak typing is kept where it is harmless (numbers as strings, one object where a list is meant); anything else is
a problem with its position, the path of its key, what was found and what is meant. All problems are collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from math import isfinite
from typing import Any

import msgspec

from chowk.agent.config import schema as s
from chowk.agent.config.problems import Problems
from chowk.agent.config.tree import Entry, ListNode, Node, ObjectNode, Scalar, describe, to_plain
from chowk.core.definitions import Position
from chowk.core.durations import format_duration, parse_duration


class Reading(msgspec.Struct, frozen=True):
    """How to read: where problems go, and whether this is an HTTP body, whose bare numbers are nanoseconds where a
    duration is meant, and whose unknown keys are ignored, as in Consul, unless `strict`. Times are judged by `now` (Unix
    seconds) where it is given."""

    problems: Problems
    request: bool = False
    strict: bool = False
    now: float | None = None


class Decoded:
    """The values of one block under the keys' own names, and where each was written."""

    def __init__(self, position: Position, path: str) -> None:
        self.position = position
        self.path = path
        self.values: dict[str, Any] = {}
        self.positions: dict[str, Position] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str, default: Any = None) -> Any:
        """The decoded value, or `default` where the key was not written."""
        return self.values.get(name, default)

    def at(self, name: str) -> Position:
        """Where the key's value was written; the block's own position where it was not."""
        return self.positions.get(name, self.position)

    def put(self, name: str, value: Any, position: Position) -> None:
        """Set a value (merging, flags)."""
        self.values[name] = value
        self.positions[name] = position

    def pick(self, **fields: str) -> dict[str, Any]:
        """`pick(interval_s="interval")` -> {"interval_s": …} of the keys that were written; for struct constructors."""
        return {field: self.values[name] for field, name in fields.items() if name in self.values}


_MISSING = object()


def decode(node: Node, schema: s.Schema, reading: Reading, path: str = "") -> Decoded:
    """The block `node` read by `schema`. Problems go to `reading.problems`; what is wrong is left out of the result."""
    merged = _one_object([node], reading, path or schema.name)
    if merged is None:
        return Decoded(node.position, path)
    return _block(merged, schema, reading, path)


def _block(node: ObjectNode, schema: s.Schema, reading: Reading, path: str) -> Decoded:
    decoded = Decoded(node.position, path)
    grouped = _grouped(node, schema, reading, path)
    for key, entries in grouped:
        key_path = f"{path}.{key.name}" if path else key.name
        nodes = [entry.value for entry in entries if not _is_null(entry.value)]
        if not nodes:
            continue
        if not key.served and not reading.request:
            reading.problems.warn(entries[0].position, f'"{key_path}" is known but not served yet; it has no effect')
        value = _value(nodes, key.type, reading, key_path)
        if value is not _MISSING:
            if key.always is not None and value != key.always:
                always = str(key.always).lower()
                reading.problems.warn(entries[0].position, f'"{key_path}" is always {always} here; it has no effect')
            decoded.put(key.name, value, nodes[0].position)
    written = {key.name for key, entries in grouped if any(not _is_null(entry.value) for entry in entries)}
    for key in schema.keys:
        if key.required and key.name not in written:
            reading.problems.add(node.position, f"{path}: {key.name} is missing: {_lowered(key.doc)}")
    return decoded


def _lowered(doc: str) -> str:
    return doc[:1].lower() + doc[1:]


def _grouped(node: ObjectNode, schema: s.Schema, reading: Reading, path: str) -> list[tuple[s.Key, list[Entry]]]:
    grouped: dict[str, list[Entry]] = {}
    for entry in node.entries:
        key = schema.by_plain_name.get(s.plain_name(entry.key))
        if key is None:
            _unknown(entry, schema, reading, path)
        else:
            grouped.setdefault(key.name, []).append(entry)
    return [(key, grouped[key.name]) for key in schema.keys if key.name in grouped]


def _unknown(entry: Entry, schema: s.Schema, reading: Reading, path: str) -> None:
    where = f" in {path}" if path else ""
    if reading.request and not reading.strict:
        reading.problems.warn(entry.position, f'unknown key "{entry.key}"{where} is ignored')
        return
    spelt = {s.plain_name(name): name for name in schema.names}
    near = get_close_matches(s.plain_name(entry.key), spelt, n=1, cutoff=0.6)
    hint = f'; did you mean "{spelt[near[0]]}"?' if near else f"; {schema.name} knows {_some(schema.names)}"
    reading.problems.add(entry.position, f'unknown key "{entry.key}"{where}{hint}')


def _some(names: tuple[str, ...]) -> str:
    shown = sorted(names)
    return ", ".join(shown) if len(shown) <= 12 else f"{len(shown)} other keys (see docs/config-reference.md)"


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _value(nodes: list[Node], kind: s.Type, reading: Reading, path: str) -> Any:
    """The value of all nodes written for one key. _MISSING when it is a problem (and was noted)."""
    match kind:
        case s.Block(schema):
            merged = _one_object(nodes, reading, path)
            return _MISSING if merged is None else _block(merged, schema, reading, path)
        case s.Blocks(schema):
            return [_block(item, schema, reading, f"{path}[{n}]") for n, item in _objects(nodes, reading, path)]
        case s.Objects():
            return [item for _, item in _objects(nodes, reading, path)]
        case s.BlockMap(schema):
            return {
                name: _block(item, schema, reading, f"{path}.{name}")
                for name, values in _fields(nodes, reading, path)
                if (item := _one_object(values, reading, f"{path}.{name}")) is not None
            }
        case s.TextMap():
            return _map(nodes, s.Text(), reading, path)
        case s.TextsMap():
            return _map(nodes, s.Texts(), reading, path)
        case s.DurationMap():
            return _map(nodes, s.Duration(), reading, path)
        case s.Open(schema):
            merged = _one_object(nodes, reading, path)
            return _MISSING if merged is None else _open(merged, schema, reading, path)
        case s.Anything():
            return to_plain(nodes[0]) if len(nodes) == 1 else _anything(nodes)
        case _:
            return _plain(nodes, kind, reading, path)


def _open(node: ObjectNode, schema: s.Schema, reading: Reading, path: str) -> dict[str, Any]:
    """The block as plain data: known keys under their own names, whole numbers as such, durations as written."""
    known: dict[str, list[Entry]] = {}
    others: list[Entry] = []
    for entry in node.entries:
        key = schema.by_plain_name.get(s.plain_name(entry.key))
        known.setdefault(key.name, []).append(entry) if key is not None else others.append(entry)
    plain: dict[str, Any] = to_plain(ObjectNode(tuple(others), node.position))
    for key in schema.keys:
        nodes = [entry.value for entry in known.get(key.name, ()) if not _is_null(entry.value)]
        if not nodes:
            continue
        value = _value(nodes, key.type, reading, f"{path}.{key.name}")
        if value is not _MISSING:
            plain[key.name] = to_plain(nodes[0]) if isinstance(key.type, s.Duration) else value
    return plain


def _anything(nodes: list[Node]) -> Any:
    """A key of the user's own, written more than once: objects become a list of objects."""
    entries = tuple(Entry("value", node, node.position) for node in nodes)
    return to_plain(ObjectNode(entries, nodes[0].position))["value"]


def _map(nodes: list[Node], kind: s.Type, reading: Reading, path: str) -> dict[str, Any]:
    found = {}
    for name, values in _fields(nodes, reading, path):
        value = _plain(values, kind, reading, f"{path}.{name}")
        if value is not _MISSING:
            found[name] = value
    return found


def _fields(nodes: list[Node], reading: Reading, path: str) -> list[tuple[str, list[Node]]]:
    merged = _one_object(nodes, reading, path)
    fields: dict[str, list[Node]] = {}
    for entry in merged.entries if merged is not None else ():
        if not _is_null(entry.value):
            fields.setdefault(entry.key, []).append(entry.value)
    return list(fields.items())


def _one_object(nodes: list[Node], reading: Reading, path: str) -> ObjectNode | None:
    """One block of all that was written for it: HCL 1 lets it be repeated, or be a list of one."""
    found: list[ObjectNode] = []
    for node in nodes:
        if isinstance(node, ListNode) and len(node.items) == 1:
            node = node.items[0]
        if not isinstance(node, ObjectNode):
            _mismatch(node, "a block: { … }", reading, path)
            return None
        found.append(node)
    if len(found) == 1:
        return found[0]
    entries = tuple(entry for node in found for entry in node.entries)
    return ObjectNode(entries, found[0].position, max(node.depth for node in found))


def _objects(nodes: list[Node], reading: Reading, path: str) -> Iterator[tuple[int, ObjectNode]]:
    """The blocks of a list, numbered: repeated blocks append, and one object may stand for a list."""
    number = 0
    for node in nodes:
        for item in node.items if isinstance(node, ListNode) else (node,):
            if isinstance(item, ObjectNode):
                yield number, item
            else:
                _mismatch(item, "a block: { … }", reading, f"{path}[{number}]")
            number += 1


def _plain(nodes: list[Node], kind: s.Type, reading: Reading, path: str) -> Any:
    if len(nodes) > 1:
        reading.problems.add(nodes[1].position, f"{path} is given twice, first at {nodes[0].position}")
        return _MISSING
    if isinstance(kind, s.Texts):
        return _texts(nodes[0], reading, path)
    if isinstance(kind, s.Wholes):
        return _wholes(nodes[0], kind, reading, path)
    node = nodes[0]
    if not isinstance(node, Scalar):
        return _mismatch(node, _meant(kind), reading, path)
    value = _scalar(node.value, kind, request=reading.request)
    if value is _MISSING:
        return _mismatch(node, _meant(kind), reading, path)
    return value


def _texts(node: Node, reading: Reading, path: str) -> Any:
    items = node.items if isinstance(node, ListNode) else (node,)
    found = []
    for number, item in enumerate(items):
        value = _scalar(item.value, s.Text(), request=False) if isinstance(item, Scalar) else _MISSING
        if value is _MISSING:
            _mismatch(
                item, "a string" if isinstance(node, ListNode) else "a list of strings", reading, f"{path}[{number}]"
            )
            return _MISSING
        found.append(value)
    return tuple(found)


def _wholes(node: Node, kind: s.Wholes, reading: Reading, path: str) -> Any:
    one = s.Whole(kind.minimum, kind.maximum)
    found = []
    for number, item in enumerate(node.items if isinstance(node, ListNode) else (node,)):
        value = _scalar(item.value, one, request=False) if isinstance(item, Scalar) else _MISSING
        if value is _MISSING:
            return _mismatch(item, _meant(one), reading, f"{path}[{number}]")
        found.append(value)
    return tuple(found)


def _scalar(value: Any, kind: s.Type, *, request: bool) -> Any:
    match kind:
        case s.Text(choices, fold):
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                value = str(value)
            if fold and isinstance(value, str):
                value = next((choice for choice in choices if choice.lower() == value.lower()), value)
            return value if isinstance(value, str) and (not choices or value in choices) else _MISSING
        case s.Whole(minimum, maximum):
            number = _number(value)
            whole = number is not None and number == int(number) and minimum <= number <= maximum
            return int(number) if whole and number is not None else _MISSING
        case s.Number(minimum, maximum):
            number = _number(value)
            return float(number) if number is not None and minimum <= number <= maximum else _MISSING
        case s.Period():
            return _period(value, request=request)
        case s.Flag():
            return (
                {True: True, False: False, "true": True, "false": False}.get(value, _MISSING)
                if not _is_number(value)
                else _MISSING
            )
        case s.Duration(minimum_s):
            seconds = _seconds(value, request=request)
            return seconds if seconds is not None and seconds >= minimum_s else _MISSING
        case _:
            return _MISSING


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> int | float | None:
    if _is_number(value):
        number: int | float = value
        return number if abs(number) < 2**63 else None
    if isinstance(value, str) and value.strip().lstrip("-").isascii() and value.strip().lstrip("-").isdigit():
        return int(value) if len(value) <= 19 else None
    return None


def _seconds(value: Any, *, request: bool) -> float | None:
    if isinstance(value, str):
        if value == "":
            return 0.0
        try:
            return parse_duration(value)
        except ValueError:
            return None
    if _is_number(value) and (request or value == 0):
        return float(value) / 1e9
    return None


def _period(value: Any, *, request: bool) -> Any:
    """The text of a duration, of one line and without blanks, such as Go's clients read too."""
    seconds = _seconds(value, request=request)
    if seconds is None:
        return _MISSING
    if isinstance(value, str):
        return value.strip()
    return format_duration(seconds) if value else ""


def _meant(kind: s.Type) -> str:
    match kind:
        case s.Text(choices) if choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in choices if choice)
        case s.Text():
            return "a string"
        case s.Whole(minimum, maximum):
            bounds = f"from {minimum} to {maximum}" if maximum < 2**31 - 1 else f"of at least {minimum}"
            return f"a whole number {bounds}"
        case s.Number(minimum, maximum):
            return (
                f"a number from {minimum:g} to {maximum:g}"
                if isfinite(maximum)
                else f"a number of at least {minimum:g}"
            )
        case s.Period():
            return 'a duration with its unit, like "1.5s", "250ms" or "1h30m"'
        case s.Flag():
            return "true or false"
        case s.Duration(minimum_s):
            least = f", at least {minimum_s:g}s" if minimum_s else ""
            return f'a duration like "10s" or "1h30m"{least}'
        case _:
            return "something else"


def _mismatch(node: Node, meant: str, reading: Reading, path: str) -> Any:
    value = node.value if isinstance(node, Scalar) else None
    hint = ""
    if meant == "a string" and isinstance(value, bool):
        hint = " (put it in quotes)"
    elif meant.startswith("a duration") and _is_number(value):
        hint = f': write "{value:g}s" for seconds, "{value:g}ms" for milliseconds'
    reading.problems.add(node.position, f"{path}: found {describe(node)}, expected {meant}{hint}")
    return _MISSING
