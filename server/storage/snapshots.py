"""Snapshot files: what replaces the front of the log. Written aside, renamed when durable; the old ones then removed.

What is in one: `snapshot_form`. Called by `storage.durable`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from chowk.server.raft.records import SnapshotMeta
from chowk.server.storage.errors import Corrupt
from chowk.server.storage.filesystem import ASIDE, FileSystem, replace_file
from chowk.server.storage.snapshot_form import READ_BYTES, Reader, encoded
from chowk.server.storage.transfers import Sink, Source

ENDING: Final = ".snapshot"
INCOMING: Final = ".incoming"
"""The ending, before ASIDE, of one that is on its way from another server."""


class SnapshotFiles:
    """The snapshots of one folder; `latest` after `recover`."""

    def __init__(self, files: FileSystem, folder: Path) -> None:
        self._files = files
        self._folder = folder
        self.latest: SnapshotMeta | None = None
        self._choosing = threading.Lock()

    def recover(self) -> None:
        """Find the newest, check all of it, remove what is not whole or older. Corrupt when the newest is damaged."""
        self._files.make_folder(self._folder)
        names = self._files.names(self._folder)
        whole = [name for name in names if name.endswith(ENDING)]
        if whole:
            path = self._folder / whole[-1]
            self.latest = self._check(path)
        self._files.sync_folder(self._folder)
        self._remove([name for name in names if name.endswith(ASIDE)] + whole[:-1])

    def _check(self, path: Path) -> SnapshotMeta:
        reader = self._reader(path)
        meta = reader.meta()
        for _block in reader.blocks():
            pass
        if path.name != _name(meta):
            raise Corrupt(path, 0, f"the snapshot's name is not that of entry {meta.index}")
        return meta

    def write(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> None:
        """Make a snapshot durable, then remove the older ones. One that is older than the latest, or the same, is left."""
        if self.latest is not None and (meta.index < self.latest.index or meta == self.latest):
            return
        replace_file(self._files, self._folder / _name(meta), encoded(meta, chunks))
        self._choose(meta)

    def _choose(self, meta: SnapshotMeta) -> None:
        with self._choosing:
            self.latest = meta
        newest = _name(meta)
        self._remove([name for name in self._files.names(self._folder) if name.endswith(ENDING) and name < newest])

    def read(self) -> tuple[SnapshotMeta, Iterator[bytes]] | None:
        """The latest snapshot, and its chunks: Corrupt where one is damaged. None when there is none.

        It is open when this returns, so that a newer one may remove it meanwhile.
        """
        with self._choosing:
            if self.latest is None:
                return None
            reader = self._reader(self._folder / _name(self.latest))
            return reader.meta(), reader.blocks()

    def open(self) -> Source | None:
        """The latest snapshot's file, to send it; None when there is none. A newer one may remove it meanwhile."""
        with self._choosing:
            if self.latest is None:
                return None
            return Source(self.latest, self._files.open(self._folder / _name(self.latest)))

    def receive(self, meta: SnapshotMeta) -> Sink:
        """A file for the bytes of another server's snapshot."""
        return Sink(self._files, self._folder / (_name(meta) + INCOMING + ASIDE), meta, self._adopt)

    def _adopt(self, meta: SnapshotMeta, aside: Path) -> None:
        """One that came from another server is whole and durable under another name."""
        if self.latest is not None and meta.index <= self.latest.index:
            self._files.remove(aside)
            return
        self._files.rename(aside, self._folder / _name(meta))
        self._files.sync_folder(self._folder)
        self._choose(meta)

    def _reader(self, path: Path) -> Reader:
        return Reader(path, self._files.read_blocks(path, READ_BYTES))

    def _remove(self, names: list[str]) -> None:
        for name in names:
            self._files.remove(self._folder / name)
        if names:
            self._files.sync_folder(self._folder)


def _name(meta: SnapshotMeta) -> str:
    return f"{meta.index:020d}-{meta.term:020d}{ENDING}"
