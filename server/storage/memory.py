"""Storage that forgets with the process, for `-dev` and tests. Called by `server.consensus`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Restored, SnapshotMeta


class MemoryStorage:
    """Implements storage.port.Storage. The core has the log already; a snapshot is kept for followers."""

    def __init__(self) -> None:
        self._chunks: tuple[bytes, ...] = ()

    def open(self) -> Restored:
        """Nothing is remembered."""
        return Restored()

    def persist(self, writes: Sequence[Persist]) -> None:
        """Nothing to write."""

    def install(self, meta: SnapshotMeta) -> None:
        """Nothing to write."""

    def save_snapshot(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> None:  # noqa: ARG002
        """Keep the chunks."""
        self._chunks = tuple(chunks)

    def read_snapshot(self) -> Iterator[bytes]:
        """The chunks."""
        return iter(self._chunks)

    def compact(self, index: int) -> None:
        """Nothing to remove."""

    def close(self) -> None:
        """Nothing to let go of."""
