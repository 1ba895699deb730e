"""The pieces of a snapshot that is being restored. Part of `Store`; written by `restore` and the snapshot."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chowk.server.state.snapshot import Loading


class Staging:
    """`pieces` are (index of the entry that brought it, bytes), in order; `loading` has been fed with each."""

    def __init__(self, id: str, loading: Loading) -> None:
        self.id = id
        self.loading = loading
        self.pieces: list[tuple[int, bytes]] = []
        self.size = 0
        self.digest = hashlib.sha256()

    def add(self, index: int, data: bytes) -> None:
        """The next piece. ValueError when it cannot be one."""
        self.loading.feed(data, index)
        self.pieces.append((index, data))
        self.size += len(data)
        self.digest.update(data)

    def rows(self) -> list[tuple[str, int, bytes]]:
        """For a snapshot: (id, index, bytes)."""
        return [(self.id, index, data) for index, data in self.pieces]
