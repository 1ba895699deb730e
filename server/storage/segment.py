"""The bytes of a log segment: a header, then one frame a write. Pure. Called by `storage.log`. Decision 003 says why.

A frame is everything one write made durable together, under one checksum, and the next is written only after that. So a
damaged frame at the end was never acknowledged whole, and one that is followed by a good frame was: the first may be cut
off, the second must not be.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

from chowk.server.raft.records import Entry, EntryKind

MAGIC: Final = b"chowklog"
VERSION: Final = 2
"""1 had no checksum of a frame's length."""
VERSION_OFFSET: Final = 8
HEADER: Final = struct.Struct(">8sIIQQI")
"""Magic, version, salt, number of the segment, first index, CRC-32 of these."""
FRAME: Final = struct.Struct(">4sIII")
"""Mark, length of the body, CRC-32 of the length, CRC-32 of length and body; both salted with the segment's salt.

Without the first a client's data full of marks would make the search for a good frame read all that follows at each.
"""
MARK: Final = b"\xc5frm"
ENTRY: Final = struct.Struct(">QQBI")
"""Index, term, kind, length of the data."""
LENGTH: Final = struct.Struct(">I")
BODY_BYTES_MAX: Final = 256 * 1024 * 1024
"""More than any write; a length above it is damage."""


class Damage(Exception):
    """The bytes at `offset` are not what was written."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(what)
        self.offset = offset
        self.what = what


class UnknownFormat(Damage):
    """Whole and valid, but written by another version."""


def header(number: int, first_index: int, salt: int) -> bytes:
    """A segment's first bytes. The salt keeps a client's data from looking like a frame of this segment."""
    start = HEADER.pack(MAGIC, VERSION, salt, number, first_index, 0)[: -LENGTH.size]
    return start + LENGTH.pack(zlib.crc32(start))


def read_header(data: bytes) -> tuple[int, int, int]:
    """Number, first index and salt. Damage when there is no whole, valid header."""
    if len(data) < HEADER.size:
        raise Damage(len(data), "the segment's header is cut off")
    magic, version, salt, number, first_index, checksum = HEADER.unpack_from(data)
    if checksum != zlib.crc32(data[: HEADER.size - LENGTH.size]) or magic != MAGIC:
        raise Damage(0, "the segment's header is not valid")
    if version != VERSION:
        raise UnknownFormat(VERSION_OFFSET, f"format {version} is not known to this version, which writes {VERSION}")
    return number, first_index, salt


def frame(entries: Sequence[Entry], salt: int) -> bytes:
    """The bytes of one write."""
    parts = []
    for entry in entries:
        parts.append(ENTRY.pack(entry.index, entry.term, entry.kind, len(entry.data)))
        parts.append(entry.data)
    body = b"".join(parts)
    if len(body) > BODY_BYTES_MAX:
        raise ValueError(f"a frame may have {BODY_BYTES_MAX} bytes; this one has {len(body)}")
    start = zlib.crc32(LENGTH.pack(len(body)), salt)
    return FRAME.pack(MARK, len(body), start, zlib.crc32(body, start)) + body


def read_frame(data: bytes, offset: int, salt: int) -> tuple[list[Entry], int]:
    """The entries of the frame at `offset`, and where the next begins. Damage when it is not whole and valid."""
    body, end = _body(data, offset, salt)
    entries = []
    position = 0
    while position < len(body):
        index, term, kind, length = ENTRY.unpack_from(body, position)
        position += ENTRY.size
        entries.append(Entry(index, term, EntryKind(kind), bytes(body[position : position + length])))
        position += length
    return entries, end


def _body(data: bytes, offset: int, salt: int) -> tuple[memoryview, int]:
    if offset + FRAME.size > len(data):
        raise Damage(offset, "a frame is cut off")
    mark, length, start, checksum = FRAME.unpack_from(data, offset)
    end = offset + FRAME.size + length
    if mark != MARK or length > BODY_BYTES_MAX or start != zlib.crc32(LENGTH.pack(length), salt):
        raise Damage(offset, "no frame begins here")
    if end > len(data):
        raise Damage(offset, "a frame is cut off")
    body = memoryview(data)[offset + FRAME.size : end]
    if zlib.crc32(body, start) != checksum:
        raise Damage(offset, "a frame's checksum is wrong")
    return body, end


def find_frame(data: bytes, start: int, salt: int) -> int | None:
    """Where a valid frame begins at or after `start`; None when there is none."""
    offset = data.find(MARK, start)
    while offset >= 0:
        try:
            _body(data, offset, salt)
        except Damage:
            offset = data.find(MARK, offset + 1)
            continue
        return offset
    return None
