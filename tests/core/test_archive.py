"""The file of a snapshot: what was written is read back, and nothing else is taken for one."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import pytest

from chowk.core.archive import ArchiveMeta, ArchiveWriter, BadArchive, TableCounter, state_pieces, verify
from chowk.server.state.machine import StoreMachine

STATE = b"".join(StoreMachine().snapshot()()) + b""


def archive(state: bytes = STATE, size: int | None = None, digest: str | None = None, version: int = 1) -> bytes:
    length = len(state) if size is None else size
    meta = ArchiveMeta(id="2-13-1", index=13, term=2, version=version, size=length)
    writer = ArchiveWriter(meta, digest or hashlib.sha256(state).hexdigest())
    pieces = [state[at : at + 100] for at in range(0, len(state), 100)]
    return writer.begin() + b"".join(writer.add(piece) for piece in pieces) + writer.end()


def tar_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_what_was_written_is_read_back_and_any_tar_can_open_it() -> None:
    data = archive()
    seen: list[bytes] = []
    meta = verify(io.BytesIO(data), seen.append)
    assert (meta.index, meta.term, meta.size, b"".join(seen)) == (13, 2, len(STATE), STATE)
    assert b"".join(state_pieces(io.BytesIO(data))) == STATE
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        assert tar.getnames() == ["meta.json", "state.bin", "SHA256SUMS"]


def test_one_cut_short_at_any_byte_is_refused() -> None:
    data = archive()
    for end in range(len(data)):
        with pytest.raises(BadArchive):
            verify(io.BytesIO(data[:end]))


def test_one_with_any_byte_flipped_is_refused_or_reads_as_what_was_written() -> None:
    """Of gzip's bytes some mean nothing to the content: a time, from which of many zeros a zero is copied."""
    data = archive()
    whole = verify(io.BytesIO(data))
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x40
        seen: list[bytes] = []
        try:
            meta = verify(io.BytesIO(broken), seen.append)
        except BadArchive:
            continue
        assert (meta, b"".join(seen)) == (whole, STATE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage" * 100,
        gzip.compress(b""),
        gzip.compress(b"not a tar" * 200),
        archive()[:-8] + archive(),
        archive() + b"more",
        archive() + gzip.compress(b"more"),
        archive(digest="0" * 64),
        archive(version=2),
        tar_of(meta_json=b"{}", state_bin=STATE),
        tar_of(meta_json=b"{}", state_bin=STATE, SHA256SUMS=b"x"),
        tar_of(evil=b"x"),
    ],
    ids=[f"case {number}" for number in range(12)],
)
def test_what_is_no_snapshot_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(BadArchive, match=r"\w+"):
        verify(io.BytesIO(data))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    huge = tarfile.TarInfo("meta.json")
    huge.size = 1 << 40
    data = gzip.compress(huge.tobuf() + bytes(1 << 20))
    with pytest.raises(BadArchive, match="too large"):
        verify(io.BytesIO(data))


def test_links_and_members_twice_are_refused() -> None:
    link = tarfile.TarInfo("state.bin")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(BadArchive, match="does not belong"):
        verify(io.BytesIO(gzip.compress(link.tobuf() + bytes(1024))))
    meta = tarfile.TarInfo("meta.json")
    with pytest.raises(BadArchive, match="does not belong"):
        verify(io.BytesIO(gzip.compress(2 * meta.tobuf() + bytes(1024))))


def test_a_writer_whose_state_is_not_as_long_as_it_said_does_not_end() -> None:
    with pytest.raises(BadArchive, match="bytes, not"):
        archive(size=len(STATE) + 1)


def test_the_tables_of_a_state_are_counted_however_it_is_cut() -> None:
    counter = TableCounter()
    for at in range(0, len(STATE), 3):
        counter(STATE[at : at + 3])
    assert counter.tables == {}
    with pytest.raises(BadArchive):
        TableCounter()(b"\x00\x00\x00\x01\xff")
