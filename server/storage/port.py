"""What consensus asks of storage. `durable.DurableStorage` keeps it on a disk, `memory.MemoryStorage` does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Entry, HardState, Restored, SnapshotMeta
from chowk.server.storage.transfers import SnapshotSink, SnapshotSource


class Storage(Protocol):
    """Every method may block; all errors are StorageError, after which nothing more is written.

    `persist`, `compact` and notes belong to one thread; snapshots are saved, sent and received beside it in another.
    """

    def open(self) -> Restored:
        """Take the folder, and say what is in it."""
        ...

    def persist(self, writes: Sequence[Persist]) -> None:
        """Make all of `writes` durable, hard state before entries. They hold no `install`."""
        ...

    def install(self, meta: SnapshotMeta) -> None:
        """A snapshot of another server, saved already, takes the log's place."""
        ...

    def save_snapshot(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> None:
        """Make a snapshot durable in place of older ones."""
        ...

    def read_snapshot(self) -> tuple[SnapshotMeta, Iterator[bytes]] | None:
        """The latest snapshot and its chunks; it may be newer than one knows. None when there is none. Any thread."""
        ...

    def open_snapshot(self) -> SnapshotSource | None:
        """The latest snapshot, to send it to another server. None when there is none."""
        ...

    def receive_snapshot(self, meta: SnapshotMeta) -> SnapshotSink:
        """A place for another server's snapshot."""
        ...

    def read_note(self, name: str) -> bytes | None:
        """A small file of the folder: what was written under that name. None when there is none."""
        ...

    def write_note(self, name: str, data: bytes) -> None:
        """Replace a small file, durably: the old one or the new, never a part."""
        ...

    def rename_note(self, name: str, new_name: str) -> None:
        """Give a small file another name, durably."""
        ...

    def compact(self, index: int) -> None:
        """Entries up to `index` are not needed any more; some may stay."""
        ...

    def close(self) -> None:
        """Let go of the folder."""
        ...


def merged_entries(writes: Sequence[Persist]) -> list[Entry]:
    """The entries of several writes as one: what a later one replaces is left out."""
    merged: list[Entry] = []
    for write in writes:
        if write.entries and merged:
            del merged[max(0, write.entries[0].index - merged[0].index) :]
        merged += write.entries
    return merged


def last_hard_state(writes: Sequence[Persist]) -> HardState | None:
    """The newest term and vote among several writes; None when they did not change."""
    return next((write.hard_state for write in reversed(writes) if write.hard_state is not None), None)
