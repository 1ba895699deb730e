"""The file of the term and the vote: always whole, checksummed, replaced at once. Called by `storage.durable`."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

import msgspec

from chowk.server.raft.records import HardState
from chowk.server.storage.errors import Corrupt
from chowk.server.storage.filesystem import FileSystem, replace_file

MAGIC: Final = b"chowkhst"
VERSION: Final = 1
HEAD: Final = struct.Struct(">8sII")
"""Magic, version, CRC-32 of the body."""


def write_hard_state(files: FileSystem, path: Path, hard_state: HardState) -> None:
    """Replace the file. OSError as the disk gives."""
    body = msgspec.msgpack.encode(hard_state)
    replace_file(files, path, iter((HEAD.pack(MAGIC, VERSION, zlib.crc32(body)) + body,)))


def read_hard_state(files: FileSystem, path: Path) -> HardState:
    """What the file says. Corrupt when it is not what was written: a vote that is forgotten could be given twice."""
    data = files.read(path)
    if len(data) < HEAD.size:
        raise Corrupt(path, len(data), "the file of the term and the vote is too short")
    magic, version, checksum = HEAD.unpack_from(data)
    body = data[HEAD.size :]
    if magic != MAGIC:
        raise Corrupt(path, 0, "this is no file of a term and a vote")
    if version != VERSION:
        raise Corrupt(path, 8, f"format {version} is not known to this version, which writes {VERSION}")
    if zlib.crc32(body) != checksum:
        raise Corrupt(path, HEAD.size, "the checksum of the term and the vote is wrong")
    return msgspec.msgpack.decode(body, type=HardState)
