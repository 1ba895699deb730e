"""Crashes at every step of a life: whatever was said to be durable is there after the restart, and every start succeeds."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Configuration, Entry, HardState, Member, Restored, SnapshotMeta
from chowk.server.storage.durable import DurableStorage
from support.crashing_disk import Crash, CrashingDisk

CONFIGURATION = Configuration((Member("me", "127.0.0.1:8300"),))
SEGMENT_BYTES = 100


@dataclass
class Life:
    """What a server has been told is durable, and how it goes on. `commit` is never undone, as Raft promises."""

    term: int = 0
    vote: str = ""
    commit: int = 0
    snapshot: int = 0
    log: dict[int, Entry] = field(default_factory=dict)

    @property
    def last(self) -> int:
        return max(self.log, default=self.snapshot)

    @property
    def hard_state(self) -> HardState:
        return HardState(self.term, self.vote)


def chunks_of(meta: SnapshotMeta) -> tuple[bytes, ...]:
    return (b"state at %d of term %d" % (meta.index, meta.term), b"x" * 50)


def live(storage: DurableStorage, rng: random.Random, steps: int) -> Iterator[tuple[Life, Life]]:
    """Before each step: what was acknowledged, and what will be after it. The step is done when this goes on."""
    before = Life()
    for number in range(steps):
        after = copy.deepcopy(before)
        kind = rng.choices(("append", "conflict", "vote", "snapshot", "receive"), (9, 4, 1, 2, 1))[0]
        if number == 0:
            kind = "append"
        yield before, after
        if kind == "append" or (kind == "conflict" and before.last > before.commit):
            append(storage, rng, after, conflict=kind == "conflict")
        elif kind == "vote":
            after.term, after.vote = after.term + 1, rng.choice(("", "me", "another"))
            storage.persist([Persist(number, after.hard_state)])
        elif kind == "snapshot" and before.commit > before.snapshot:
            after.snapshot = before.commit
            meta = SnapshotMeta(after.snapshot, before.log[after.snapshot].term, CONFIGURATION, 1)
            storage.save_snapshot(meta, chunks_of(meta))
            storage.compact(after.snapshot - rng.randint(0, 4))
        elif kind == "receive":
            after.term, after.vote = after.term + 1, ""
            after.snapshot = after.commit = before.commit + rng.randint(1, 8)
            after.log = {}
            meta = SnapshotMeta(after.snapshot, after.term, CONFIGURATION, 1)
            storage.save_snapshot(meta, chunks_of(meta))
            storage.persist([Persist(number, after.hard_state)])
            storage.install(meta)
        before = after


def append(storage: DurableStorage, rng: random.Random, after: Life, *, conflict: bool) -> None:
    """One to four entries; with a conflict they replace some that are not committed, in a newer term."""
    first = after.last + 1
    after.term = max(1, after.term)
    writes = []
    if conflict:
        first = rng.randint(after.commit + 1, after.last)
        after.term, after.vote = after.term + 1, ""
        writes.append(Persist(1, after.hard_state))
        for index in range(first, after.last + 1):
            after.log.pop(index)
    count = rng.randint(1, 4)
    entries = tuple(
        Entry(index, after.term, data=rng.randbytes(rng.randint(0, 60))) for index in range(first, first + count)
    )
    after.log.update({entry.index: entry for entry in entries})
    after.commit = min(rng.randint(after.commit, after.last) for _ in range(3))
    half = rng.randint(0, count)
    writes += [Persist(2, after.hard_state, None, entries[:half]), Persist(3, None, None, entries[half:])]
    storage.persist(writes)


def check(restored: Restored, storage: DurableStorage, before: Life, after: Life) -> None:
    """What both say is there; where they differ, what either says."""
    snapshot = restored.snapshot.index if restored.snapshot is not None else 0
    assert snapshot in (before.snapshot, after.snapshot)
    if restored.snapshot is not None:
        meta, chunks = storage.read_snapshot()
        assert (meta, tuple(chunks)) == (restored.snapshot, chunks_of(meta))
    received = after.commit == after.snapshot != before.snapshot and not after.log
    if received and snapshot == after.snapshot:
        assert restored.hard_state in (before.hard_state, after.hard_state)
        return
    assert restored.hard_state in (before.hard_state, after.hard_state)
    found = {entry.index: entry for entry in restored.entries}
    for index in range(snapshot + 1, max(before.last, after.last, *found, 0) + 1):
        assert found.get(index) in (before.log.get(index), after.log.get(index)), f"entry {index}"
    assert max(found, default=snapshot) >= min(before.last, after.last)


def opened(disk: CrashingDisk, folder: Path) -> tuple[DurableStorage, Restored]:
    storage = DurableStorage(folder, disk, SEGMENT_BYTES)
    return storage, storage.open()


def crash_once(folder: Path, seed: int, at: int) -> bool:
    """Live until the crash, then restart as a kill or a power cut leaves the disk. False: the life ended before."""
    disk = CrashingDisk(seed * 10_007 + at, at)
    before = after = Life()
    storage = DurableStorage(folder, disk, SEGMENT_BYTES)
    crashed = False
    try:
        storage.open()
        for before, after in live(storage, random.Random(seed), 40):  # noqa: B007 (the last ones are what is checked)
            pass
        before = after
    except Crash:
        crashed = True
    storage.close()
    disk.restart(power_lost=disk.rng.random() < 0.7)
    storage, restored = opened(disk, folder)
    check(restored, storage, before, after)
    storage.close()
    # What a start has seen it acts upon: a power cut right after it must not take that away.
    disk.restart(power_lost=True)
    storage, again = opened(disk, folder)
    assert again == restored
    # And the folder is good for more.
    last = again.entries[-1].index if again.entries else again.snapshot.index if again.snapshot else 0
    more = Entry(last + 1, again.hard_state.term + 1, data=b"more")
    storage.persist([Persist(1, HardState(more.term, "me"), None, (more,))])
    storage.close()
    disk.restart(power_lost=True)
    storage, third = opened(disk, folder)
    assert third.entries == (*again.entries, more)
    storage.close()
    return crashed


@pytest.mark.parametrize("seed", range(6))
def test_a_crash_at_every_step_loses_nothing_acknowledged_and_every_start_succeeds(tmp_path: Path, seed: int) -> None:
    at = 0
    while crash_once(tmp_path / str(at % 4), seed, at):
        at += 1
    assert at > 100
