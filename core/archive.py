"""The file that `snapshot save` writes: a gzipped tar of `meta.json`, `state.bin` and `SHA256SUMS`. Pure but for the file
that a reader is given; nothing is ever held as a whole.

`state.bin` is what `server.state.snapshot` writes: frames of a 4-byte length and msgpack. Written by `agent.api.snapshot`,
read by it and by `agent.commands.snapshot`.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final

import msgspec

from chowk.core import codec
from chowk.core.requests import RaftServer

VERSION: Final = 1
META: Final = "meta.json"
STATE: Final = "state.bin"
SUMS: Final = "SHA256SUMS"
STATE_BYTES_MAX: Final = 1024 * 1024 * 1024
ARCHIVE_BYTES_MAX: Final = 1024 * 1024 * 1024
SMALL_BYTES_MAX: Final = 1024 * 1024
"""Of everything in an archive but the state."""
PIECE_BYTES: Final = 128 * 1024
FRAME_BYTES_MAX: Final = 256 * 1024 * 1024
_GZIP: Final = 31
_BLOCK: Final = tarfile.BLOCKSIZE


class BadArchive(ValueError):
    """This is no snapshot, or not a whole one; the text says why."""


class ArchiveMeta(msgspec.Struct, frozen=True, kw_only=True):
    """`meta.json`. `size` is that of the state in bytes; `configuration` are the servers when it was saved."""

    id: str
    index: int
    term: int
    version: int
    size: int
    configuration_index: int = 0
    configuration: tuple[RaftServer, ...] = ()


class ArchiveWriter:
    """Gives the bytes of an archive: `begin`, `add` for each piece of the state, `end`. `state_sha256` is known before."""

    def __init__(self, meta: ArchiveMeta, state_sha256: str) -> None:
        self._meta = codec.to_json(meta)
        self._size = meta.size
        self._state_sha256 = state_sha256
        self._packer = zlib.compressobj(level=6, wbits=_GZIP)
        self._written = 0

    def begin(self) -> bytes:
        """All that comes before the state."""
        head = _header(META, len(self._meta)) + self._meta + _padding(len(self._meta)) + _header(STATE, self._size)
        return self._packer.compress(head)

    def add(self, piece: bytes) -> bytes:
        """The next bytes of the state."""
        self._written += len(piece)
        return self._packer.compress(piece)

    def end(self) -> bytes:
        """All that comes after it. ValueError when it was not as long as was said."""
        if self._written != self._size:
            raise BadArchive(f"the state has {self._written} bytes, not {self._size}")
        sums = f"{hashlib.sha256(self._meta).hexdigest()}  {META}\n{self._state_sha256}  {STATE}\n".encode()
        tail = _padding(self._size) + _header(SUMS, len(sums)) + sums + _padding(len(sums)) + bytes(2 * _BLOCK)
        return self._packer.compress(tail) + self._packer.flush()


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.USTAR_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def verify(file: IO[bytes], look: Callable[[bytes], None] | None = None) -> ArchiveMeta:
    """Read an archive from where `file` stands to its end, and check all of it; `look` is given the state, piece by piece.
    BadArchive."""
    try:
        return _verify(file, look)
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise BadArchive(f"this is no snapshot, or one that is cut short or damaged: {error}") from error


def _verify(file: IO[bytes], look: Callable[[bytes], None] | None) -> ArchiveMeta:
    found: dict[str, str] = {}
    small: dict[str, bytes] = {}
    state_size = 0
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        with tarfile.open(fileobj=unpacked, mode="r|", bufsize=_BLOCK, errorlevel=2) as tar:
            for info in tar:
                if info.name not in (META, STATE, SUMS) or info.name in found or not info.isreg():
                    raise BadArchive(f"{info.name!r} does not belong into a snapshot")
                body = tar.extractfile(info)
                if body is None or info.size > (STATE_BYTES_MAX if info.name == STATE else SMALL_BYTES_MAX):
                    raise BadArchive(f"{info.name} is too large: {info.size} bytes")
                digest = hashlib.sha256()
                for piece in _pieces(body, info.size):
                    digest.update(piece)
                    if info.name != STATE:
                        small[info.name] = small.get(info.name, b"") + piece
                    elif look is not None:
                        look(piece)
                found[info.name] = digest.hexdigest()
                state_size = info.size if info.name == STATE else state_size
        # Read on to the end, where gzip's own checksum is: a file that is cut there is not what was written.
        left = SMALL_BYTES_MAX
        while rest := unpacked.read(_BLOCK):
            left -= len(rest)
            if rest.strip(b"\0") or left < 0:
                raise BadArchive("something follows the snapshot")
    if set(found) != {META, STATE, SUMS}:
        raise BadArchive(f"{', '.join(sorted({META, STATE, SUMS} - set(found)))} is missing")
    wanted = f"{found[META]}  {META}\n{found[STATE]}  {STATE}\n".encode()
    if small[SUMS] != wanted:
        raise BadArchive("a checksum is wrong: the snapshot is damaged")
    return _meta(small[META], state_size)


def _meta(data: bytes, state_size: int) -> ArchiveMeta:
    try:
        meta = msgspec.json.decode(data, type=ArchiveMeta)
    except (ValueError, RecursionError) as error:
        raise BadArchive(f"{META} cannot be read: {error}") from error
    if meta.version != VERSION:
        raise BadArchive(f"version {meta.version} of snapshots is not known to this chowk, which knows {VERSION}")
    if meta.size != state_size:
        raise BadArchive(f"{STATE} has {state_size} bytes, not {meta.size}")
    return meta


def state_pieces(file: IO[bytes]) -> Iterator[bytes]:
    """The state of an archive that was verified, in pieces of PIECE_BYTES."""
    with (
        gzip.GzipFile(fileobj=file, mode="rb") as unpacked,
        tarfile.open(fileobj=unpacked, mode="r|", errorlevel=2) as tar,
    ):
        for info in tar:
            body = tar.extractfile(info)
            if info.name == STATE and body is not None:
                yield from _pieces(body, info.size)
                return


def _pieces(body: IO[bytes], size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = body.read(min(PIECE_BYTES, left))
        if not piece:
            raise BadArchive("the snapshot is cut short")
        left -= len(piece)
        yield piece


class _Rows(msgspec.Struct, tag="rows"):
    table: str
    rows: list[msgspec.Raw]


class _Other(msgspec.Struct, tag="header"):
    pass


class _End(msgspec.Struct, tag="end"):
    pass


class TableCounter:
    """Counts what is in a state, table by table: give it to `verify` as `look`. `tables` is name -> (rows, bytes)."""

    def __init__(self) -> None:
        self.tables: dict[str, tuple[int, int]] = {}
        self._waiting = bytearray()

    def __call__(self, piece: bytes) -> None:
        """The next piece. BadArchive when it is no state."""
        self._waiting += piece
        position = 0
        while len(self._waiting) - position >= 4:
            length = int.from_bytes(self._waiting[position : position + 4], "big")
            if length > FRAME_BYTES_MAX:
                raise BadArchive(f"the state holds a frame of {length} bytes")
            end = position + 4 + length
            if len(self._waiting) < end:
                break
            self._count(bytes(self._waiting[position + 4 : end]))
            position = end
        del self._waiting[:position]

    def _count(self, frame: bytes) -> None:
        try:
            value = codec.unpack(frame, _Rows | _Other | _End)  # type: ignore[arg-type]
        except ValueError as error:
            raise BadArchive(f"the state cannot be read: {error}") from error
        if isinstance(value, _Rows):
            rows, size = self.tables.get(value.table, (0, 0))
            self.tables[value.table] = (rows + len(value.rows), size + sum(len(row) for row in value.rows))
