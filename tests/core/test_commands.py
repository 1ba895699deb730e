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
import pytest

from chowk.core.commands import COMMANDS_VERSION, AnyCommand, Command, Envelope, PutKey, UpsertConfigEntry
from chowk.core.records.config_entry import KINDS, AnyConfigEntry, ProxyDefaults, ServiceDefaults, ServiceIntentions
from chowk.core.records.mesh import Mesh
from chowk.core.records.resolver import LocalityPriority, ServiceResolver
from chowk.core.records.traffic import AccessLogs, Concurrency, InstanceRate, RateLimits

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


@pytest.mark.parametrize(
    ("entry", "version"),
    [
        (ServiceIntentions(name="web"), 1),
        (ServiceDefaults(name="web", protocol="http"), 1),
        (ServiceDefaults(name="web", rate_limits=RateLimits(), concurrency=Concurrency(), intention_mode=""), 1),
        (ServiceDefaults(name="web", rate_limits=RateLimits(instance_level=InstanceRate(requests_per_second=1))), 4),
        (ServiceDefaults(name="web", concurrency=Concurrency(adaptive=True)), 4),
        (ServiceDefaults(name="web", intention_mode="permissive"), 4),
        (ProxyDefaults(name="global", config={"protocol": "http"}, access_logs=AccessLogs()), 1),
        (ProxyDefaults(name="global", access_logs=AccessLogs(enabled=True)), 4),
        (ProxyDefaults(name="global", prioritize_by_locality=LocalityPriority(mode="failover")), 4),
        (ServiceResolver(name="web"), 4),
        (Mesh(name="mesh"), 4),
    ],
)
def test_an_entry_needs_the_version_of_what_it_says_and_of_nothing_it_leaves_out(
    entry: AnyConfigEntry, version: int
) -> None:
    assert UpsertConfigEntry(entry=entry).version == version


def test_a_field_that_came_later_counts_only_where_it_says_something() -> None:
    assert PutKey(key=b"a").version == 1
    assert PutKey(key=b"a", acquire="s").version == 2


def test_what_came_later_in_a_config_entry_has_a_value_when_nobody_wrote_it() -> None:
    for kind in KINDS.values():
        assert 1 <= kind.since <= COMMANDS_VERSION
        late = {field.name: field for field in msgspec.structs.fields(kind) if field.name in kind.fields_since}
        assert set(late) == set(kind.fields_since)
        assert all(kind.since < since <= COMMANDS_VERSION for since in kind.fields_since.values())
        assert all(not field.required for field in late.values())


if __name__ == "__main__":
    FORM.write_text(form())
