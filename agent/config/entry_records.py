"""A decoded block to the record whose fields have its keys' names, and the place in a file of what a rule has against the
record. Called by `config_entries`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from chowk.agent.config.decode import Decoded
from chowk.agent.config.problems import Problems
from chowk.connect.entries.complaint import Complaint
from chowk.core.definitions import Position
from chowk.core.records.base import json_name

T = TypeVar("T")
_NOT_STORED = ("kind", "create_index", "modify_index", "hash")


def build(decoded: Decoded, kind: type[T]) -> T:
    """The record of a block that was decoded without a problem."""
    return msgspec.convert(_plain(decoded), kind)


def _plain(value: Any) -> Any:
    if isinstance(value, Decoded):
        return {json_name(name): _plain(item) for name, item in value.values.items() if name not in _NOT_STORED}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def note(complaint: Complaint, decoded: Decoded, problems: Problems) -> None:
    """Add the complaint about the record of `decoded` to the problems, at the part that it is about."""
    position, path = _written(complaint, decoded)
    problems.add(position, f"{path}: {complaint.text}")


def _written(complaint: Complaint, decoded: Decoded) -> tuple[Position, str]:
    value: Any = decoded
    position, path = decoded.position, decoded.path
    for step in complaint.place:
        path += f"[{step}]" if isinstance(step, int) else f".{step[:64]}"
        match value:
            case Decoded():
                position, value = value.at(str(step)), value.get(str(step))
            case list() if isinstance(step, int) and step < len(value):
                value = value[step]
            case dict():
                value = value.get(step)
            case _:
                value = None
        if isinstance(value, Decoded):
            position = value.position
    return position, path
