"""The few things storage asks of a file system, so that a simulation can stand in and crash between any two of them.

Nothing here retries. A write is durable only after `sync`, a name only after `sync_folder`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class WritableFile(Protocol):
    """An open file, written at its end."""

    def write(self, data: bytes) -> None:
        """Append all of `data`."""
        ...

    def sync(self) -> None:
        """Make what was written durable."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        ...

    def close(self) -> None: ...


class ReadableFile(Protocol):
    """An open file, read anywhere, also after its name is gone."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes, fewer at the end."""
        ...

    def close(self) -> None: ...


class FileSystem(Protocol):
    """All errors are OSError."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder, for its owner only, and those above it."""
        ...

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, sorted."""
        ...

    def create(self, path: Path) -> WritableFile:
        """A new, empty file, for its owner only; what was there is gone."""
        ...

    def append(self, path: Path) -> WritableFile:
        """A file that exists, to go on writing at its end."""
        ...

    def read(self, path: Path) -> bytes:
        """All of a file."""
        ...

    def read_blocks(self, path: Path, size: int) -> Iterator[bytes]:
        """All of a file, `size` bytes at a time."""
        ...

    def open(self, path: Path) -> ReadableFile:
        """A file that exists, to read pieces of it."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, at once and whole, in place of what had it."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        ...


class DiskFile:
    """A file of the system's."""

    def __init__(self, path: Path, flags: int) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)

    def write(self, data: bytes) -> None:
        """Append all of `data`."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def sync(self) -> None:
        """Make what was written durable; its length is part of that, times are not."""
        os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class DiskReader:
    """A file of the system's, to read."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes, fewer at the end."""
        return os.pread(self._descriptor, length, offset)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class Disk:
    """The system's file system."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder, for its owner only, and those above it; the names of all that were missing are durable."""
        missing = [path for path in folder.parents if not path.exists()]
        for path in (*reversed(missing), folder):
            path.mkdir(mode=0o700, exist_ok=True)
            self.sync_folder(path.parent)

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, sorted."""
        return sorted(os.listdir(folder))

    def create(self, path: Path) -> WritableFile:
        """A new, empty file, for its owner only; what was there is gone."""
        return DiskFile(path, os.O_CREAT | os.O_TRUNC)

    def append(self, path: Path) -> WritableFile:
        """A file that exists, to go on writing at its end."""
        return DiskFile(path, 0)

    def read(self, path: Path) -> bytes:
        """All of a file."""
        return path.read_bytes()

    def read_blocks(self, path: Path, size: int) -> Iterator[bytes]:
        """All of a file, `size` bytes at a time."""
        with path.open("rb") as file:
            while block := file.read(size):
                yield block

    def open(self, path: Path) -> ReadableFile:
        """A file that exists, to read pieces of it."""
        return DiskReader(path)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, at once and whole, in place of what had it."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_file(files: FileSystem, path: Path, blocks: Iterator[bytes]) -> None:
    """Write a whole file aside, make it durable, and only then give it its name. After a crash: the old file or the new."""
    aside = path.with_name(path.name + ASIDE)
    file = files.create(aside)
    with contextlib.closing(file):
        for block in blocks:
            file.write(block)
        file.sync()
    files.rename(aside, path)
    files.sync_folder(path.parent)


ASIDE = ".tmp"
"""The ending of files that are not whole yet; a start removes them."""
