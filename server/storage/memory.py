"""Storage that forgets with the process, for `-dev` and tests. Called by `server.consensus`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Restored, SnapshotMeta
from chowk.server.storage.snapshot_form import Reader, encoded
from chowk.server.storage.transfers import SnapshotSink, SnapshotSource, checked


class MemoryStorage:
    """Implements storage.port.Storage. The core has the log already; a snapshot is kept for followers."""

    def __init__(self) -> None:
        self._snapshot: tuple[SnapshotMeta, tuple[bytes, ...]] | None = None
        self._notes: dict[str, bytes] = {}

    def open(self) -> Restored:
        """Nothing is remembered."""
        return Restored()

    def persist(self, writes: Sequence[Persist]) -> None:
        """Nothing to write."""

    def install(self, meta: SnapshotMeta) -> None:
        """Nothing to write."""

    def save_snapshot(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> None:
        """Keep the chunks, unless a newer snapshot is here."""
        if self._snapshot is None or self._snapshot[0].index < meta.index:
            self._snapshot = meta, tuple(chunks)

    def read_snapshot(self) -> tuple[SnapshotMeta, Iterator[bytes]] | None:
        """The latest and its chunks."""
        if self._snapshot is None:
            return None
        meta, chunks = self._snapshot
        return meta, iter(chunks)

    def open_snapshot(self) -> SnapshotSource | None:
        """The latest, to send it."""
        if self._snapshot is None:
            return None
        return MemorySource(self._snapshot[0], b"".join(encoded(*self._snapshot)))

    def receive_snapshot(self, meta: SnapshotMeta) -> SnapshotSink:
        """A place for another server's."""
        return MemorySink(meta, self)

    def read_note(self, name: str) -> bytes | None:
        """What was written under that name."""
        return self._notes.get(name)

    def write_note(self, name: str, data: bytes) -> None:
        """Keep it."""
        self._notes[name] = data

    def rename_note(self, name: str, new_name: str) -> None:
        """Keep it under another name."""
        self._notes[new_name] = self._notes.pop(name)

    def compact(self, index: int) -> None:
        """Nothing to remove."""

    def close(self) -> None:
        """Nothing to let go of."""


class MemorySource:
    """A snapshot to send."""

    def __init__(self, meta: SnapshotMeta, data: bytes) -> None:
        self.meta = meta
        self.size = len(data)
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        """A piece."""
        return self._data[offset : offset + length]

    def close(self) -> None:
        """Nothing to close."""


class MemorySink:
    """A snapshot on its way here."""

    def __init__(self, meta: SnapshotMeta, storage: MemoryStorage) -> None:
        self.meta = meta
        self._storage = storage
        self._data = bytearray()

    @property
    def size(self) -> int:
        """How much is here."""
        return len(self._data)

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self._data += data

    def chunks(self) -> Iterator[bytes]:
        """What the snapshot holds. BadSnapshot."""
        return checked(self.meta, Reader(Path("memory"), iter((bytes(self._data),))))

    def finish(self) -> None:
        """The latest from now on."""
        self._storage.save_snapshot(self.meta, self.chunks())

    def discard(self) -> None:
        """Forget it."""
        self._data.clear()
