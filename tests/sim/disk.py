"""A server's disk. `ModelDisk` is quick; `RealDisk` is the server's own storage on a file system that crashes.

Both say what a crash in the middle of a write leaves: any beginning of it, the term before the entries.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from sim.agenda import Violation

from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Entry, HardState, Restored, SnapshotMeta
from chowk.server.storage.durable import DurableStorage
from chowk.server.storage.errors import Corrupt, StorageError
from chowk.server.storage.port import Storage, last_hard_state, merged_entries
from support.crashing_disk import Crash, CrashingDisk


class SimulatedDisk(Storage, Protocol):
    """A storage, and what can happen to it."""

    durable: Durable

    def tear(self, writes: Sequence[Persist], rng: random.Random) -> None:
        """The server dies in the middle of this `persist`."""
        ...

    def tear_snapshot(self, meta: SnapshotMeta, chunks: Iterable[bytes], rng: random.Random) -> None:
        """The server dies in the middle of this `save_snapshot`."""
        ...

    def fail(self, writes: Sequence[Persist], rng: random.Random, number: int) -> None:
        """The system refuses in the middle of this `persist`, with an errno: StorageError."""
        ...

    def end(self, rng: random.Random, *, power_lost: bool) -> None:
        """The server died."""
        ...

    def rot(self, rng: random.Random) -> bool:
        """Damage something that was acknowledged; False when there is nothing to damage."""
        ...


class Durable:
    """What is certain to survive. The checks look at this."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.snapshot: SnapshotMeta | None = None
        self.entries: list[Entry] = []

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry, or a snapshot that has it, survives."""
        if self.snapshot is not None and index <= self.snapshot.index:
            return True
        position = index - self.entries[0].index if self.entries else -1
        return 0 <= position < len(self.entries) and self.entries[position].term == term

    @property
    def last(self) -> tuple[int, int]:
        """Term and index of the last entry."""
        if self.entries:
            return self.entries[-1].term, self.entries[-1].index
        return (self.snapshot.term, self.snapshot.index) if self.snapshot is not None else (0, 0)

    def write(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """A write ended."""
        if hard_state is not None:
            self.hard_state = hard_state
        if entries:
            first = entries[0].index
            kept = max(0, first - self.entries[0].index) if self.entries else 0
            self.entries = self.entries[:kept] + list(entries)

    def restored(self) -> Restored:
        """What a start finds: entries that the snapshot does not continue go."""
        snapshot, entries = self.snapshot, self.entries
        if snapshot is not None and entries and entries[0].index <= snapshot.index:
            position = snapshot.index - entries[0].index
            if position >= len(entries) or entries[position].term != snapshot.term:
                entries = self.entries = []
        if snapshot is not None and self.hard_state.term < snapshot.term:
            self.hard_state = HardState(snapshot.term)
        return Restored(self.hard_state, snapshot, tuple(entries))


def beginnings(writes: Sequence[Persist]) -> Iterator[tuple[HardState | None, list[Entry]]]:
    """Everything that a crash in the middle of `writes` may leave, from nothing to all of it."""
    hard_state, entries = last_hard_state(writes), merged_entries(writes)
    yield None, []
    yield hard_state, []
    for count in range(1, len(entries) + 1):
        yield hard_state, entries[:count]


class ModelDisk:
    """Implements SimulatedDisk without bytes."""

    def __init__(self) -> None:
        self.durable = Durable()
        self._chunks: tuple[bytes, ...] = ()
        self._rotten = False

    def open(self) -> Restored:
        """What is here. Corrupt when it rotted."""
        if self._rotten:
            raise Corrupt(Path("log"), 0, "it rotted")
        return self.durable.restored()

    def persist(self, writes: Sequence[Persist]) -> None:
        """It is durable at once: the time it takes is the server's matter."""
        self.durable.write(last_hard_state(writes), merged_entries(writes))

    def tear(self, writes: Sequence[Persist], rng: random.Random) -> None:
        self.durable.write(*rng.choice(list(beginnings(writes))))

    def tear_snapshot(self, meta: SnapshotMeta, chunks: Iterable[bytes], rng: random.Random) -> None:
        if rng.random() < 0.5:
            self.save_snapshot(meta, chunks)

    def fail(self, writes: Sequence[Persist], rng: random.Random, number: int) -> None:
        self.tear(writes, rng)
        raise StorageError(number, errno.errorcode[number])

    def end(self, rng: random.Random, *, power_lost: bool) -> None:
        pass

    def rot(self, rng: random.Random) -> bool:
        self._rotten = True
        return True

    def install(self, meta: SnapshotMeta) -> None:
        if self.durable.snapshot is None or self.durable.snapshot.index < meta.index:
            raise Violation(f"the snapshot at {meta.index} is to be installed and was not saved")
        self.durable.entries = []

    def save_snapshot(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> None:
        if self.durable.snapshot is None or self.durable.snapshot.index < meta.index:
            self.durable.snapshot, self._chunks = meta, tuple(chunks)

    def read_snapshot(self) -> tuple[SnapshotMeta, Iterator[bytes]] | None:
        return (self.durable.snapshot, iter(self._chunks)) if self.durable.snapshot is not None else None

    def compact(self, index: int) -> None:
        self.durable.entries = [entry for entry in self.durable.entries if entry.index > index]

    def close(self) -> None:
        pass


class RealDisk:
    """Implements SimulatedDisk with the server's own storage. What `durable` says is compared with what a start finds."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.durable = Durable()
        self._folder = folder
        self._files = CrashingDisk(seed)
        self._storage = DurableStorage(folder, self._files, segment_bytes_max=600)
        self._possible: list[tuple[HardState | None, list[Entry]]] = [(None, [])]
        self._rotten = False

    def open(self) -> Restored:
        """Start the storage anew. Violation when acknowledged data is gone, or rot was not seen."""
        self._storage.close()
        self._storage = DurableStorage(self._folder, self._files, segment_bytes_max=600)
        restored = self._storage.open()
        if self._rotten:
            raise Violation("a damaged disk was taken for a good one")
        self._compare(restored)
        self.durable.hard_state, self.durable.snapshot = restored.hard_state, restored.snapshot
        self.durable.entries = list(restored.entries)
        self._possible = [(None, [])]
        return restored

    def _compare(self, restored: Restored) -> None:
        found = _visible(restored)
        before = self.durable
        for hard_state, entries in self._possible:
            possible = Durable()
            possible.hard_state, possible.snapshot, possible.entries = (
                before.hard_state,
                restored.snapshot,
                before.entries,
            )
            possible.write(hard_state, entries)
            if _visible(possible.restored()) == found:
                break
        else:
            raise Violation(f"the storage lost something: {found} after {_visible(before.restored())}")
        if before.snapshot is not None and (
            restored.snapshot is None or restored.snapshot.index < before.snapshot.index
        ):
            raise Violation("a durable snapshot is gone")

    def persist(self, writes: Sequence[Persist]) -> None:
        self._storage.persist(writes)
        self.durable.write(last_hard_state(writes), merged_entries(writes))

    def tear(self, writes: Sequence[Persist], rng: random.Random) -> None:
        self._possible = list(beginnings(writes))
        self._files.crash_at = self._files.steps + rng.randrange(12)
        try:
            self._storage.persist(writes)
        except Crash:
            pass
        self._files.crash_at = None

    def tear_snapshot(self, meta: SnapshotMeta, chunks: Iterable[bytes], rng: random.Random) -> None:
        self._files.crash_at = self._files.steps + rng.randrange(8)
        try:
            self._storage.save_snapshot(meta, chunks)
        except Crash:
            pass
        self._files.crash_at = None

    def fail(self, writes: Sequence[Persist], rng: random.Random, number: int) -> None:
        self._possible = list(beginnings(writes))
        self._files.refuse_at = (self._files.steps + rng.randrange(3), number)
        self._storage.persist(writes)
        self._files.refuse_at = None
        self.durable.write(last_hard_state(writes), merged_entries(writes))
        self._possible = [(None, [])]
        raise StorageError(number, errno.errorcode[number])

    def end(self, rng: random.Random, *, power_lost: bool) -> None:
        self._storage.close()
        self._files.refuse_at = None
        self._files.restart(power_lost=power_lost)

    def rot(self, rng: random.Random) -> bool:
        self._rotten = self._files.rot(rng)
        return self._rotten

    def install(self, meta: SnapshotMeta) -> None:
        self._storage.install(meta)
        self.durable.entries = []

    def save_snapshot(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> None:
        self._storage.save_snapshot(meta, chunks)
        if self.durable.snapshot is None or self.durable.snapshot.index < meta.index:
            self.durable.snapshot = meta

    def read_snapshot(self) -> tuple[SnapshotMeta, Iterator[bytes]] | None:
        return self._storage.read_snapshot()

    def compact(self, index: int) -> None:
        self._storage.compact(index)

    def close(self) -> None:
        self._storage.close()


def _visible(restored: Restored) -> tuple[HardState, list[tuple[int, int]]]:
    """What must be the same: the hard state, and the entries that no snapshot covers."""
    covered = restored.snapshot.index if restored.snapshot is not None else 0
    return restored.hard_state, [(entry.index, entry.term) for entry in restored.entries if entry.index > covered]
