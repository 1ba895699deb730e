"""Storage that forgets with the process, for `-dev` and tests. Called by `server.consensus`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Restored, SnapshotMeta


class MemoryStorage:
    """Implements storage.port.Storage. The core has the log already; a snapshot is kept for followers."""

    def __init__(self) -> None:
        self._snapshot: tuple[SnapshotMeta, tuple[bytes, ...]] | None = None

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

    def compact(self, index: int) -> None:
        """Nothing to remove."""

    def close(self) -> None:
        """Nothing to let go of."""
