"""Snapshot files: what replaces the front of the log. Written aside, renamed when durable; the old ones then removed.

A file is a header with the snapshot's SnapshotMeta, then blocks, each with its checksum, then an empty block with the
checksum of all: a file that is cut off anywhere is known to be. Called by `storage.durable`.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from chowk.server.raft.records import SnapshotMeta
from chowk.server.storage.errors import Corrupt
from chowk.server.storage.filesystem import ASIDE, FileSystem, replace_file

log = structlog.get_logger("chowk.storage")
MAGIC: Final = b"chowksnp"
VERSION: Final = 1
VERSION_OFFSET: Final = 8
HEAD: Final = struct.Struct(">8sIII")
"""Magic, version, length of the meta, CRC-32 of the meta."""
BLOCK: Final = struct.Struct(">II")
"""Length, CRC-32; a length of 0 ends the file, with the CRC-32 of all blocks."""
ENDING: Final = ".snapshot"
READ_BYTES: Final = 256 * 1024
BLOCK_BYTES_MAX: Final = 256 * 1024 * 1024


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
        reader = _Reader(self._files, path)
        meta = reader.meta()
        for _block in reader.blocks():
            pass
        if path.name != _name(meta):
            raise Corrupt(path, 0, f"the snapshot's name is not that of entry {meta.index}")
        return meta

    def write(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> None:
        """Make a snapshot durable, then remove the older ones. One that is not newer than the latest is left."""
        if self.latest is not None and meta.index <= self.latest.index:
            return
        replace_file(self._files, self._folder / _name(meta), _encoded(meta, chunks))
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
            reader = _Reader(self._files, self._folder / _name(self.latest))
            return reader.meta(), reader.blocks()

    def _remove(self, names: list[str]) -> None:
        for name in names:
            self._files.remove(self._folder / name)
        if names:
            self._files.sync_folder(self._folder)


def _encoded(meta: SnapshotMeta, chunks: Iterable[bytes]) -> Iterator[bytes]:
    body = msgspec.msgpack.encode(meta)
    yield HEAD.pack(MAGIC, VERSION, len(body), zlib.crc32(body)) + body
    total = 0
    for chunk in chunks:
        if chunk:
            total = zlib.crc32(chunk, total)
            yield BLOCK.pack(len(chunk), zlib.crc32(chunk))
            yield chunk
    yield BLOCK.pack(0, total)


class _Reader:
    """One pass over a file. `meta` first, then `blocks`."""

    def __init__(self, files: FileSystem, path: Path) -> None:
        self._path = path
        self._source = files.read_blocks(path, READ_BYTES)
        self._buffer = bytearray()
        self._offset = 0

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            more = next(self._source, b"")
            if not more:
                raise Corrupt(self._path, self._offset + len(self._buffer), "the snapshot is cut off")
            self._buffer += more
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._offset += length
        return taken

    def meta(self) -> SnapshotMeta:
        """What the snapshot stands for."""
        magic, version, length, checksum = HEAD.unpack(self._take(HEAD.size))
        if magic != MAGIC:
            raise Corrupt(self._path, 0, "this is no snapshot")
        if version != VERSION:
            raise Corrupt(
                self._path, VERSION_OFFSET, f"format {version} is not known to this version, which writes {VERSION}"
            )
        if length > BLOCK_BYTES_MAX:
            raise Corrupt(self._path, VERSION_OFFSET, "the length of the snapshot's header is wrong")
        body = self._take(length)
        if zlib.crc32(body) != checksum:
            raise Corrupt(self._path, HEAD.size, "the checksum of the snapshot's header is wrong")
        return msgspec.msgpack.decode(body, type=SnapshotMeta)

    def blocks(self) -> Iterator[bytes]:
        """The chunks that were written."""
        total = 0
        while True:
            at = self._offset
            length, checksum = BLOCK.unpack(self._take(BLOCK.size))
            if length == 0:
                if checksum != total or self._buffer or next(self._source, b""):
                    raise Corrupt(self._path, at, "the snapshot's end is wrong")
                return
            if length > BLOCK_BYTES_MAX:
                raise Corrupt(self._path, at, "the length of a block is wrong")
            chunk = self._take(length)
            if zlib.crc32(chunk) != checksum:
                raise Corrupt(self._path, at, "the checksum of a block is wrong")
            total = zlib.crc32(chunk, total)
            yield chunk


def _name(meta: SnapshotMeta) -> str:
    return f"{meta.index:020d}-{meta.term:020d}{ENDING}"
