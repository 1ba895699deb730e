"""A server's folder: lock, hard state, log and snapshots, and what they must agree on. Called by `server.consensus`.

    <folder>/lock  <folder>/hard-state  <folder>/log/*.log  <folder>/snapshots/*.snapshot

After one error nothing more is written: after a failed fsync the system may have thrown the data away and say "done" next
time, so only a restart, which reads what is really there, can know.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog

from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Entry, HardState, Restored, SnapshotMeta
from chowk.server.storage.errors import Corrupt, StorageError, explained
from chowk.server.storage.filesystem import ASIDE, Disk, FileSystem, replace_file
from chowk.server.storage.hard_state import read_hard_state, write_hard_state
from chowk.server.storage.lock import FolderLock
from chowk.server.storage.log import SEGMENT_BYTES_MAX, SegmentLog
from chowk.server.storage.port import last_hard_state, merged_entries
from chowk.server.storage.snapshots import SnapshotFiles
from chowk.server.storage.transfers import SnapshotSink, SnapshotSource

log = structlog.get_logger("chowk.storage")
T = TypeVar("T")
HARD_STATE: Final = "hard-state"


class DurableStorage:
    """Implements storage.port.Storage in `folder`, which is made if it is not there."""

    def __init__(
        self, folder: Path, files: FileSystem | None = None, segment_bytes_max: int = SEGMENT_BYTES_MAX
    ) -> None:
        self._folder = folder
        self._files = files or Disk()
        self._log = SegmentLog(self._files, folder / "log", segment_bytes_max)
        self._snapshots = SnapshotFiles(self._files, folder / "snapshots")
        self._lock: FolderLock | None = None
        self._failure: StorageError | None = None
        self._failing = threading.Lock()

    def open(self) -> Restored:
        """Take the folder, and say what is in it. FolderInUse, Corrupt or StorageError."""
        return self._guarded("open", self._open)

    def _open(self) -> Restored:
        self._files.make_folder(self._folder)
        self._lock = FolderLock(self._folder)
        self._files.sync_folder(self._folder)
        names = self._files.names(self._folder)
        for name in names:
            if name.endswith(ASIDE):
                self._files.remove(self._folder / name)
        self._snapshots.recover()
        entries = self._log.recover()
        has_hard_state = HARD_STATE in names
        if not has_hard_state and (entries or self._snapshots.latest is not None):
            raise Corrupt(self._folder / HARD_STATE, 0, "it is missing, but there are a log or a snapshot beside it")
        hard_state = read_hard_state(self._files, self._folder / HARD_STATE) if has_hard_state else HardState()
        if entries and hard_state.term < entries[-1].term:
            last_term = entries[-1].term
            raise Corrupt(self._folder / HARD_STATE, 0, f"it says term {hard_state.term}; the log is in {last_term}")
        snapshot = self._snapshots.latest
        if snapshot is not None and hard_state.term < snapshot.term:
            # A crash before the term of a snapshot of another server was written: no vote was given in it.
            hard_state = HardState(snapshot.term)
        return Restored(hard_state, snapshot, tuple(self._joined(snapshot, entries)))

    def _joined(self, snapshot: SnapshotMeta | None, entries: list[Entry]) -> list[Entry]:
        """The entries that go with the snapshot. A log that the snapshot does not continue was about to be removed."""
        if not entries:
            return entries
        first = entries[0].index
        if snapshot is None:
            if first > 1:
                raise Corrupt(
                    self._folder / "snapshots", 0, f"the log begins at entry {first} and there is no snapshot"
                )
            return entries
        if first > snapshot.index + 1:
            raise Corrupt(self._folder / "log", 0, f"entries {snapshot.index + 1} to {first - 1} are missing")
        if first == snapshot.index + 1:
            return entries
        position = snapshot.index - first
        if position < len(entries) and entries[position].term == snapshot.term:
            return entries
        log.warning("removed a log that a newer snapshot replaces", snapshot=snapshot.index, log=entries[-1].index)
        self._log.reset()
        return []

    def persist(self, writes: Sequence[Persist]) -> None:
        """Make all of `writes` durable: the term before the entries, so that no entry is of a term that is not known."""
        self._guarded("write", lambda: self._persist(writes))

    def _persist(self, writes: Sequence[Persist]) -> None:
        hard_state = last_hard_state(writes)
        if hard_state is not None:
            write_hard_state(self._files, self._folder / HARD_STATE, hard_state)
        entries = merged_entries(writes)
        if entries:
            self._log.append(entries)

    def install(self, meta: SnapshotMeta) -> None:
        """A snapshot of another server, saved already, takes the log's place."""
        latest = self._snapshots.latest
        if latest is None or latest.index < meta.index:
            raise StorageError(f"the snapshot at entry {meta.index} was not saved")
        self._guarded("reset", self._log.reset)

    def save_snapshot(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> None:
        """Make a snapshot durable in place of older ones."""
        self._guarded("write a snapshot in", lambda: self._snapshots.write(meta, chunks))

    def read_snapshot(self) -> tuple[SnapshotMeta, Iterator[bytes]] | None:
        """The latest snapshot, and its chunks: Corrupt where one is damaged."""
        return self._guarded("read a snapshot in", self._snapshots.read)

    def open_snapshot(self) -> SnapshotSource | None:
        """The latest snapshot's file, to send it."""
        return self._guarded("read a snapshot in", self._snapshots.open)

    def receive_snapshot(self, meta: SnapshotMeta) -> SnapshotSink:
        """A file for another server's snapshot: a disk that fails it is trusted with nothing more."""
        return GuardedSink(self._guarded, meta, self._snapshots)

    def read_note(self, name: str) -> bytes | None:
        """A small file of the folder."""
        path = self._folder / name
        return self._guarded(
            "read", lambda: self._files.read(path) if name in self._files.names(self._folder) else None
        )

    def write_note(self, name: str, data: bytes) -> None:
        """Replace a small file of the folder."""
        self._guarded("write", lambda: replace_file(self._files, self._folder / name, iter((data,))))

    def rename_note(self, name: str, new_name: str) -> None:
        """Give a small file of the folder another name."""
        self._guarded("rename", lambda: self._rename(name, new_name))

    def _rename(self, name: str, new_name: str) -> None:
        self._files.rename(self._folder / name, self._folder / new_name)
        self._files.sync_folder(self._folder)

    def compact(self, index: int) -> None:
        """Remove segments that hold nothing after `index`."""
        self._guarded("compact", lambda: self._log.compact(index))

    def close(self) -> None:
        """Let go of the folder."""
        self._log.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _guarded(self, doing: str, work: Callable[[], T]) -> T:
        """Do something, unless something failed before; the first failure is the last thing that was tried."""
        if self._failure is not None:
            raise self._failure
        try:
            return work()
        except OSError as error:
            with self._failing:
                if self._failure is None:
                    self._failure = explained(error, doing, self._folder)
            if doing == "open":
                self.close()
            raise self._failure from error


class Guard(Protocol):
    """Runs something that uses the disk, unless the disk failed before."""

    def __call__(self, doing: str, work: Callable[[], T], /) -> T: ...


class GuardedSink:
    """A transfers.SnapshotSink of which a failure is one of the whole folder."""

    def __init__(self, guarded: Guard, meta: SnapshotMeta, snapshots: SnapshotFiles) -> None:
        self._guarded = guarded
        self._sink = guarded("write a snapshot in", lambda: snapshots.receive(meta))
        self.meta = meta
        self.size = 0

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self._guarded("write a snapshot in", lambda: self._sink.write(data))
        self.size = self._sink.size

    def chunks(self) -> Iterator[bytes]:
        """What the snapshot holds. BadSnapshot."""
        return self._sink.chunks()

    def finish(self) -> None:
        """Durable, and the latest."""
        self._guarded("write a snapshot in", self._sink.finish)

    def discard(self) -> None:
        """Remove it."""
        self._guarded("remove a snapshot in", self._sink.discard)
