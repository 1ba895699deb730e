"""The bytes of a snapshot file, on a disk and on their way to another server: all of it is checksummed.

A file is a header with the snapshot's SnapshotMeta, then blocks, each with its checksum, then an empty block with the
checksum of all: a file that is cut off anywhere is known to be. Called by `snapshots`, `transfers` and `memory`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from chowk.server.raft.records import SnapshotMeta
from chowk.server.storage.errors import Corrupt

MAGIC: Final = b"chowksnp"
VERSION: Final = 1
VERSION_OFFSET: Final = 8
HEAD: Final = struct.Struct(">8sIII")
"""Magic, version, length of the meta, CRC-32 of the meta."""
BLOCK: Final = struct.Struct(">II")
"""Length, CRC-32; a length of 0 ends the file, with the CRC-32 of all blocks."""
READ_BYTES: Final = 256 * 1024
BLOCK_BYTES_MAX: Final = 256 * 1024 * 1024


def encoded(meta: SnapshotMeta, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of a file, in pieces."""
    body = msgspec.msgpack.encode(meta)
    yield HEAD.pack(MAGIC, VERSION, len(body), zlib.crc32(body)) + body
    total = 0
    for chunk in chunks:
        if chunk:
            total = zlib.crc32(chunk, total)
            yield BLOCK.pack(len(chunk), zlib.crc32(chunk))
            yield chunk
    yield BLOCK.pack(0, total)


class Reader:
    """One pass over the bytes of a file, which `path` names for people. `meta` first, then `blocks`."""

    def __init__(self, path: Path, source: Iterator[bytes]) -> None:
        self._path = path
        self._source = source
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
