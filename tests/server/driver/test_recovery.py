"""peers.json: who may be in it, that all servers come to the same cluster by it, and that a crash in it is mended."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from chowk.server.driver.recovery import PEERS, forced_members, recover
from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Configuration, Entry, HardState, Member, Restored, bootstrap_entry
from chowk.server.storage.durable import DurableStorage
from chowk.server.storage.errors import StorageError
from support.crashing_disk import Crash, CrashingDisk
from support.proposing_server import Journal

OLD = Configuration(tuple(Member(name, f"{name}:8300", f"node-{name}") for name in "abcde"), "old-nonce")
LEFT = [{"id": "b", "address": "b:8300"}, {"id": "a", "address": "a:9300", "non_voter": False}]


def test_the_members_are_those_of_the_file_sorted() -> None:
    members = forced_members(json.dumps(LEFT).encode(), "a")
    assert members == (Member("a", "a:9300"), Member("b", "b:8300"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be used"),
        (b"{}", "cannot be used"),
        (b'[{"id": "a"}]', "address"),
        (b'[{"id": "a", "address": "a:1", "voter": true}]', "unknown field"),
        (b'[{"id": "a", "address": "a"}]', "needs an id and an address"),
        (b'[{"id": "a", "address": "a:99999"}]', "needs an id and an address"),
        (b'[{"id": "a", "address": "a:1"}, {"id": "a", "address": "a:2"}]', "two servers have the id a"),
        (b'[{"id": "a", "address": "a:1"}, {"id": "b", "address": "a:1"}]', "two servers have the address a:1"),
        (b'[{"id": "a", "address": "a:1", "non_voter": true}]', "no voter"),
        (b'[{"id": "b", "address": "b:1"}]', r"this server \(a\) is not in it"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_is_wrong(data: bytes, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught:
        forced_members(data, "a")
    assert "Nothing was changed" in str(caught.value)


def filled(storage: DurableStorage, last: int) -> None:
    storage.open()
    entries = tuple(Entry(index, 3, data=b"%d" % index) for index in range(2, last + 1))
    storage.persist([Persist(1, HardState(3, "a"), None, (bootstrap_entry(OLD), *entries))])
    storage.write_note(PEERS, json.dumps(LEFT).encode())
    storage.close()


def recovered(storage: DurableStorage, restored: Restored, me: str) -> tuple[Restored, Journal]:
    machine = Journal()
    applied = 0
    if restored.snapshot is not None:
        snapshot = storage.read_snapshot()
        assert snapshot is not None
        machine.thaw(snapshot[1])()
        applied = restored.snapshot.index
    return recover(storage, restored, machine, applied, me, 1_700_000_000.0), machine


def test_servers_with_logs_of_different_length_come_to_the_same_cluster_and_keep_what_they_have(tmp_path: Path) -> None:
    found = []
    for me, last in (("a", 9), ("b", 7)):
        filled(DurableStorage(tmp_path / me), last)
        storage = DurableStorage(tmp_path / me)
        restored, machine = recovered(storage, storage.open(), me)
        assert machine.entries == {index: b"%d" % index for index in range(2, last + 1)}
        assert restored.snapshot is not None
        assert (restored.snapshot.index, restored.snapshot.term, restored.entries) == (last, 3, ())
        found.append(restored.snapshot.configuration)
        assert storage.read_note(PEERS) is None
        storage.close()
        storage = DurableStorage(tmp_path / me)
        again = storage.open()
        assert again.snapshot == restored.snapshot
        assert recovered(storage, again, me)[0] == again
        storage.close()
    assert found[0] == found[1]
    assert found[0].cluster not in ("", OLD.cluster)
    assert [(member.id, member.address, member.node) for member in found[0].members] == [
        ("a", "a:9300", "node-a"),
        ("b", "b:8300", "node-b"),
    ]


@pytest.mark.parametrize("power_lost", [True, False])
def test_a_crash_at_any_step_is_mended_by_the_next_start_and_comes_to_the_same_cluster(
    tmp_path: Path, power_lost: bool
) -> None:
    filled(DurableStorage(tmp_path / "whole"), 6)
    whole = DurableStorage(tmp_path / "whole")
    wanted = recovered(whole, whole.open(), "a")[0].snapshot
    whole.close()
    assert wanted is not None
    for step in itertools.count():
        disk = CrashingDisk(step)
        folder = tmp_path / f"{power_lost}-{step}"
        filled(DurableStorage(folder, disk), 6)
        first = DurableStorage(folder, disk)
        restored = first.open()
        disk.crash_at = disk.steps + step
        try:
            recovered(first, restored, "a")
            crashed = False
        except Crash:
            crashed = True
        first.close()
        disk.restart(power_lost=power_lost)
        second = DurableStorage(folder, disk)
        after, machine = recovered(second, second.open(), "a")
        assert after.snapshot == wanted
        assert machine.entries == {index: b"%d" % index for index in range(2, 7)}
        second.close()
        if not crashed:
            assert step > 8
            break
