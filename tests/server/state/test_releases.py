"""What a newer release wrote is never passed over: neither an entry of the log nor a part of a snapshot."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chowk.core import codec
from chowk.core.commands import COMMANDS_VERSION, AnyCommand, Envelope, PutKey
from chowk.server.state.machine import NewerEntry, StoreMachine


def entry(command: AnyCommand, version: int = 1) -> bytes:
    return codec.pack(Envelope(client="", sequence=0, time_s=1.0, command=command, version=version))


def changed(data: bytes, **fields: Any) -> bytes:
    """The entry with other fields of its command, as a newer release might write it."""
    plain = msgspec.msgpack.decode(data)
    plain["command"].update(fields)
    return codec.pack(plain)


def test_a_command_that_is_not_known_stops_the_server_before_it() -> None:
    machine = StoreMachine()
    machine.apply(1, entry(PutKey(key=b"a")))
    with pytest.raises(NewerEntry, match=r"written by a newer release .* install the other servers' release"):
        machine.apply(2, changed(entry(PutKey(key=b"b")), t="kv-newer"))
    assert machine.store.index == 1
    assert machine.store.kv.entries.get(b"b") is None


def test_an_entry_that_can_be_read_but_means_more_stops_the_server_too() -> None:
    machine = StoreMachine()
    with pytest.raises(NewerEntry, match=f"its version is {COMMANDS_VERSION + 1}, this release knows"):
        machine.apply(1, changed(entry(PutKey(key=b"b"), COMMANDS_VERSION + 1), newer_field=1))
    assert machine.store.kv.entries.get(b"b") is None


def test_fields_that_a_newer_release_adds_for_itself_are_passed_over() -> None:
    plain = msgspec.msgpack.decode(entry(PutKey(key=b"a", value=b"1")))
    machine = StoreMachine()
    machine.apply(1, codec.pack({**plain, "traced_by": "newer"}))
    found = machine.store.kv.entries.get(b"a")
    assert found is not None
    assert found.value == b"1"


def frames(machine: StoreMachine, **header: Any) -> list[bytes]:
    """A snapshot whose header says something else."""
    data = b"".join(machine.snapshot()())
    size = int.from_bytes(data[:4], "big")
    first = codec.pack({**msgspec.msgpack.decode(data[4 : 4 + size]), **header})
    return [len(first).to_bytes(4, "big"), first, data[4 + size :]]


@pytest.mark.parametrize("header", [{"format": 2}, {"commands": COMMANDS_VERSION + 1}])
def test_a_snapshot_of_a_newer_release_is_refused_and_changes_nothing(header: dict[str, int]) -> None:
    machine = StoreMachine()
    machine.apply(1, entry(PutKey(key=b"a")))
    with pytest.raises(ValueError, match=r"newer release of chowk .*: upgrade this server"):
        machine.restore(frames(StoreMachine(), **header))
    assert machine.store.kv.entries.get(b"a") is not None


def test_a_snapshot_says_what_a_release_must_know_to_read_it() -> None:
    machine = StoreMachine()
    machine.apply(1, entry(PutKey(key=b"a")))
    copy = StoreMachine()
    copy.restore(machine.snapshot()())
    assert copy.store.commands == 1
    machine.apply(2, entry(PutKey(key=b"a", acquire="s"), COMMANDS_VERSION))
    copy.restore(machine.snapshot()())
    assert copy.store.commands == COMMANDS_VERSION


def test_a_snapshot_of_an_older_release_loads() -> None:
    machine = StoreMachine()
    machine.apply(1, entry(PutKey(key=b"a")))
    size_first = frames(machine)
    plain = msgspec.msgpack.decode(size_first[1])
    del plain["commands"], plain["autopilot"], plain["restored_at"]
    first = codec.pack({**plain, "gone_since": True})
    copy = StoreMachine()
    copy.restore([len(first).to_bytes(4, "big"), first, size_first[2]])
    assert copy.store.kv.entries.get(b"a") is not None
