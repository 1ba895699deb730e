"""Large replies: whole, in order, compressed when asked for, and never more than a piece of them for one client."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

from aiohttp import web

from chowk.agent.api.pieces import PIECE_BYTES
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import ANYONE, Route
from support.fake_server import until
from support.http_api import Api, with_api, with_registry

HEAD_BYTES = 4096
VALUE = bytes(range(256)) * 1500
IDENTITY = {"Accept-Encoding": "identity"}


def test_a_large_reply_is_whole_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        assert len(VALUE) > 2 * PIECE_BYTES
        await api.put("/v1/kv/large", data=VALUE)
        for _ in range(3):
            raw = await api.get("/v1/kv/large?raw", headers=IDENTITY)
            assert raw.body == VALUE
            assert raw.headers["Content-Length"] == str(len(VALUE))
        head = await api.ask("HEAD", "/v1/kv/large?raw")
        assert (head.body, head.headers["Content-Length"]) == (b"", str(len(VALUE)))
        assert (await api.get("/v1/kv/large")).json()[0]["Key"] == "large"

    with_registry(tmp_path, body)


def test_a_client_that_does_not_read_holds_a_piece(tmp_path: Path) -> None:
    transports: list[asyncio.Transport] = []

    async def large(request: ApiRequest) -> web.Response:
        assert isinstance(request.http.transport, asyncio.Transport)
        transports.append(request.http.transport)
        return web.Response(body=bytes(64 * PIECE_BYTES))

    async def body(api: Api) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.http.port, limit=1)
        writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        await until(lambda: bool(transports) and transports[0].get_write_buffer_size() > 0)
        for _ in range(100):
            assert transports[0].get_write_buffer_size() <= PIECE_BYTES + HEAD_BYTES
            await asyncio.sleep(0)
        assert len(transports) == 1
        writer.close()
        assert reader is not None

    with_api(tmp_path, body, routes=(Route(("GET",), "/large", large, ANYONE),))


def test_a_long_list_that_comes_in_parts_is_compressed_too(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for number in range(12):
            await api.put(f"/v1/kv/many/{number}", data=VALUE)
        plain = await api.get("/v1/kv/many/?recurse", headers=IDENTITY)
        assert "Content-Length" not in plain.headers  # it came in parts
        for target in ("/v1/kv/many/?recurse", "/v1/kv/many/?recurse&pretty"):
            reader, writer = await asyncio.open_connection("127.0.0.1", api.http.port)
            lines = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
            writer.write(lines.encode())
            answer = await reader.read()
            writer.close()
            head, _, chunks = answer.partition(b"\r\n\r\n")
            assert b"Content-Encoding: gzip" in head
            packed = unchunked(chunks)
            assert json.loads(gzip.decompress(packed)) == plain.json()
            assert len(packed) < len(plain.body) / 4

    with_registry(tmp_path, body)


def unchunked(data: bytes) -> bytes:
    """The body of a reply in chunks."""
    found = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        found, data = found + data[:count], data[count + 2 :]
        if not count:
            break
    return found
