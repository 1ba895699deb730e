"""Commands are on the disks and wires of servers of two releases at once: what they look like is written down here.

A field or command that is not in commands.txt needs a version (`since`, `fields_since`, COMMANDS_VERSION); then write the
file again: python tests/core/test_commands.py.
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

import msgspec

from chowk.core.commands import COMMANDS_VERSION, AnyCommand, Command, Envelope

FORM = Path(__file__).with_name("commands.txt")


def structs(kind: Any, found: dict[str, Any]) -> None:
    """Every struct that a value of `kind` can hold."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind.__name__ not in found:
            found[kind.__name__] = kind
            for field in msgspec.structs.fields(kind):
                structs(field.type, found)
    elif typing.get_args(kind) or isinstance(kind, types.UnionType):
        for inner in typing.get_args(kind):
            structs(inner, found)


def form() -> str:
    found: dict[str, Any] = {}
    structs(Envelope, found)
    lines = [f"{name} {field.encode_name}" for name, kind in found.items() for field in msgspec.structs.fields(kind)]
    return "\n".join([f"version {COMMANDS_VERSION}", *sorted(lines)]) + "\n"


def test_the_form_of_commands_changes_only_with_their_version() -> None:
    assert form() == FORM.read_text()


def test_no_command_is_of_a_version_that_this_release_does_not_have() -> None:
    for kind in typing.get_args(AnyCommand):
        assert issubclass(kind, Command)
        assert 1 <= kind.since <= COMMANDS_VERSION
        assert set(kind.fields_since) <= set(kind.__struct_fields__)
        assert all(kind.since < since <= COMMANDS_VERSION for since in kind.fields_since.values())


if __name__ == "__main__":
    FORM.write_text(form())
