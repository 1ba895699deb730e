"""Lark's syntax tree to ours: escapes, heredocs and numbers become values, and each keeps its position.

Called by `parse` alone. Nothing here imports Lark: a syntax tree is told by its `data` and `children`.
"""

from __future__ import annotations

import json as json_text
import math
import re
from typing import Any

from chowk.agent.config.problems import ConfigError, Problem
from chowk.agent.config.tree import DEPTH_MAX, Entry, ListNode, Node, ObjectNode, Scalar, depth_of
from chowk.core.definitions import Position

NUMBER_CHARS_MAX = 40
LABELS_MAX = 4
"""`resource "a" "b" { … }` has two labels; none of Consul's blocks has more than one."""

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "/": "/"}


class TreeBuilder:
    """Builds the tree of one file. ConfigError at the first value that cannot be one."""

    def __init__(self, file: str, *, json: bool) -> None:
        self._file = file
        self._json = json

    def document(self, syntax: Any) -> ObjectNode:
        """The tree of a whole file; a JSON file must be one object."""
        start = Position(file=self._file, line=1, column=1)
        if not self._json:
            return self._object(syntax.children, start, 0)
        root = self._value(syntax.children[0], 0)
        if not isinstance(root, ObjectNode):
            raise self._misfit(root.position, "a JSON file must be one object: { … }")
        return root

    def _object(self, items: list[Any], position: Position, depth: int) -> ObjectNode:
        entries = tuple(self._entry(item, depth) for item in items)
        if self._json:
            self._refuse_duplicates(entries)
        return ObjectNode(entries, position, depth_of(entry.value for entry in entries))

    def _refuse_duplicates(self, entries: tuple[Entry, ...]) -> None:
        first: dict[str, Position] = {}
        for entry in entries:
            if entry.key in first:
                raise self._misfit(entry.position, f'the key "{entry.key}" is given twice, first at {first[entry.key]}')
            first[entry.key] = entry.position

    def _entry(self, item: Any, depth: int) -> Entry:
        """`key = value`, `key { … }`, or with labels `key "label" { … }`, which nests an object a label."""
        keys = [child.children[0] for child in item.children if getattr(child, "data", "") == "key"]
        names = [(self._key(token), self._position(token)) for token in keys]
        if len(names) - 1 > LABELS_MAX:
            raise self._misfit(names[0][1], f"a block with more than {LABELS_MAX} labels")
        value = self._value(item.children[-1], depth + 1)
        if len(names) > 1 and not isinstance(value, ObjectNode):
            labels = " ".join(f'"{name}"' for name, _ in names)
            raise self._misfit(names[1][1], f"found two keys {labels} before a plain value, expected one")
        for name, position in reversed(names[1:]):
            value = ObjectNode((Entry(name, value, position),), position, depth_of([value]))
        name, position = names[0]
        return Entry(name, value, position)

    def _key(self, token: Any) -> str:
        return self._string(token) if token[:1] == '"' else str(token)

    def _value(self, syntax: Any, depth: int) -> Node:
        opening = syntax.children[0]
        position = self._position(opening)
        if depth > DEPTH_MAX:
            raise self._misfit(position, f"blocks and lists nest deeper than {DEPTH_MAX}")
        match str(syntax.data):
            case "object":
                return self._object(syntax.children[1:], position, depth)
            case "list":
                items = tuple(self._value(child, depth + 1) for child in syntax.children[1:])
                return ListNode(items, position, depth_of(items))
            case "string":
                return Scalar(self._string(opening), position)
            case "heredoc":
                return Scalar(_heredoc(str(opening)), position)
            case "number":
                return Scalar(self._number(opening), position)
            case "bool":
                return Scalar(opening == "true", position)
            case _:
                return Scalar(None, position)

    def _string(self, token: Any) -> str:
        position = self._position(token)
        try:
            text = json_text.loads(token) if self._json else _unescaped(token[1:-1])
            text.encode()
        except UnicodeEncodeError:
            raise self._misfit(position, "a string with half of a surrogate pair is not text") from None
        except ValueError as error:
            raise self._misfit(position, f"a string that cannot be read: {error}") from None
        return str(text)

    def _number(self, token: Any) -> int | float:
        text, position = str(token), self._position(token)
        if len(text) > NUMBER_CHARS_MAX:
            raise self._misfit(position, f"a number of more than {NUMBER_CHARS_MAX} digits")
        digits = text.lstrip("-")
        if digits[:2] in ("0x", "0X"):
            return int(text, 16)
        if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
            raise self._misfit(position, f'found {text}: put a number that starts with 0 in quotes ("{text}")')
        if digits.isdigit():
            return int(text)
        value = float(text)
        if not math.isfinite(value):
            raise self._misfit(position, f"the number {text} is too large")
        return value

    def _position(self, token: Any) -> Position:
        return Position(file=self._file, line=token.line, column=token.column)

    @staticmethod
    def _misfit(position: Position, text: str) -> ConfigError:
        return ConfigError([Problem(position, text)])


def _unescaped(body: str) -> str:
    """The text of a quoted string: Go's escapes, and JSON's `\\/`. ValueError names an unknown one."""
    if "\\" not in body:
        return body

    def character(match: re.Match[str]) -> str:
        escape = match[1]
        if escape in _LETTERS:
            return _LETTERS[escape]
        if escape[0] in "xuU" and len(escape) > 1:
            code = int(escape[1:], 16)
        elif len(escape) == 3:
            code = int(escape, 8)
        else:
            raise ValueError(f"\\{escape} is no escape; write \\\\ for a backslash")
        if code > 0x10FFFF:
            raise ValueError(f"\\{escape} is no character")
        return chr(code)

    text = _ESCAPE.sub(character, body)
    # A pair of \u escapes may spell one character beyond the first plane, as in JSON.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if "\\u" in body else text


def _heredoc(text: str) -> str:
    """What stands between a heredoc's marks, its last newline included.

    `<<-` takes the end mark's indentation from all lines, if all have it (HCL 1).
    """
    head, _, rest = text.replace("\r\n", "\n").partition("\n")
    body, _, mark = rest.rpartition("\n") if "\n" in rest else ("", "", rest)
    body = body + "\n" if "\n" in rest else ""
    indent = mark[: len(mark) - len(mark.lstrip(" \t"))]
    lines = body.splitlines(keepends=True)
    if head.startswith("<<-") and indent and all(line.startswith(indent) or not line.strip() for line in lines):
        return "".join(line.removeprefix(indent) for line in lines)
    return body
