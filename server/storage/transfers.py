"""Snapshots on their way between servers: the file that is sent, and the one that what comes is written to, piece by piece.

Neither is ever in memory as a whole. Made by `snapshots.SnapshotFiles`, used by `server.peers` in the snapshots' thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from chowk.server.raft.records import SnapshotMeta
from chowk.server.storage.errors import Corrupt
from chowk.server.storage.filesystem import FileSystem, ReadableFile
from chowk.server.storage.snapshot_form import READ_BYTES, Reader


class BadSnapshot(ValueError):
    """What another server sent is no snapshot, or not the one it said."""


class SnapshotSource(Protocol):
    """A snapshot to send: `size` bytes at all offsets, until it is closed."""

    meta: SnapshotMeta

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """A piece."""
        ...

    def close(self) -> None:
        """It is not needed any more."""
        ...


class SnapshotSink(Protocol):
    """A snapshot on its way here. `write` its bytes in order, read `chunks` to the end, `finish`; or `discard`."""

    meta: SnapshotMeta

    @property
    def size(self) -> int: ...

    def write(self, data: bytes) -> None:
        """The next bytes."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """What the snapshot holds, checked. BadSnapshot when it is not whole, or not the one that was said."""
        ...

    def finish(self) -> None:
        """Make it durable in place of older ones."""
        ...

    def discard(self) -> None:
        """Forget it."""
        ...


class Source:
    """A file that is sent."""

    def __init__(self, meta: SnapshotMeta, file: ReadableFile) -> None:
        self.meta = meta
        self._file = file
        self.size = file.size

    def read(self, offset: int, length: int) -> bytes:
        """A piece."""
        return self._file.read(offset, length)

    def close(self) -> None:
        """Close it."""
        self._file.close()


class Sink:
    """A file that is received. A start removes what is left of it."""

    def __init__(
        self, files: FileSystem, path: Path, meta: SnapshotMeta, adopt: Callable[[SnapshotMeta, Path], None]
    ) -> None:
        self._files = files
        self._path = path
        self._adopt = adopt
        self._file = files.create(path)
        self.meta = meta
        self.size = 0

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self._file.write(data)
        self.size += len(data)

    def chunks(self) -> Iterator[bytes]:
        """What the snapshot holds. BadSnapshot."""
        return checked(self.meta, Reader(self._path, self._files.read_blocks(self._path, READ_BYTES)))

    def finish(self) -> None:
        """Durable, and the latest."""
        self._file.sync()
        self._file.close()
        self._adopt(self.meta, self._path)

    def discard(self) -> None:
        """Remove it."""
        self._file.close()
        self._files.remove(self._path)


def checked(meta: SnapshotMeta, reader: Reader) -> Iterator[bytes]:
    """The chunks of a snapshot that came from another server. BadSnapshot: the fault is not this server's disk."""
    try:
        found = reader.meta()
        if found != meta:
            raise BadSnapshot(f"a snapshot of entry {found.index} came in the place of one of entry {meta.index}")
        yield from reader.blocks()
    except Corrupt as error:
        raise BadSnapshot(f"what came is not a whole snapshot: {error.what} (byte {error.offset})") from error
    except ValueError as error:
        raise BadSnapshot(f"what came is no snapshot: {error}") from error
