"""Content codings: what a client asks for, and that the bytes are those."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from chowk.agent.api import compression


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("deflate", "deflate"),
        ("DEFLATE;q=0.9, GZip;q=0.5", "deflate"),
        ("gzip;q=0", ""),
        ("gzip;q=0, *", "deflate"),
        ("*", "gzip"),
        ("*;q=0", ""),
        ("identity", ""),
        ("identity, gzip;q=0.5", ""),
        ("br, zstd", ""),
        ("gzip;q=much", ""),
        ("gzip;q=nan", ""),
        ("gzip;level=9", ""),
        (",;q=1,,", ""),
    ],
)
def test_the_coding_is_the_one_that_the_client_likes_best(accept: str, expected: str) -> None:
    assert compression.choose(accept) == expected


@pytest.mark.parametrize("size", [0, 10, compression.THREAD_BYTES, compression.THREAD_BYTES + 1, 1_000_000])
def test_what_is_compressed_is_what_it_was(size: int) -> None:
    data = (b'{"Node":"n"},' * (size // 13 + 1))[:size]
    assert gzip.decompress(asyncio.run(compression.compressed(data, "gzip"))) == data
    assert zlib.decompress(asyncio.run(compression.compressed(data, "deflate"))) == data


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
def test_what_is_compressed_part_by_part_is_what_the_parts_were(encoding: str) -> None:
    parts = [b"[1", b",2" * compression.THREAD_BYTES, b"", b"]"]

    async def run() -> bytes:
        stream = compression.Stream(encoding)
        written = [await stream.add(part) for part in parts]
        return b"".join(written) + stream.end()

    unpack = {"": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}[encoding]
    assert unpack(asyncio.run(run())) == b"".join(parts)
