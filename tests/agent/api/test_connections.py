"""Connections: counted by client, and let go when the head of the first request does not come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chowk.agent.api.connections import ConnectionGuard
from support.fake_server import until


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def with_guard(
    body: Callable[[ConnectionGuard, int], Awaitable[None]], *, limit: int = 0, total: int = 100, head_s: float = 30
) -> None:
    async def run() -> None:
        guard = ConnectionGuard(Echo, lambda: limit, total=total, head_s=head_s)
        server = await asyncio.get_running_loop().create_server(guard.accept, "127.0.0.1", 0)
        try:
            await asyncio.wait_for(body(guard, server.sockets[0].getsockname()[1]), 10)
        finally:
            server.close()
            guard.abort()

    asyncio.run(run())


def test_a_connection_whose_head_never_ends_is_dropped() -> None:
    async def body(guard: ConnectionGuard, port: int) -> None:
        silent = await asyncio.open_connection("127.0.0.1", port)
        slow = await asyncio.open_connection("127.0.0.1", port)
        slow[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert await slow[0].readline() == b"GET / HTTP/1.1\r\n"
        for reader, writer in (silent, slow):
            try:
                await reader.read()
            except ConnectionError:
                pass
            writer.close()
        await until(lambda: len(guard) == 0)

    with_guard(body, head_s=0.05)


def test_a_connection_whose_head_came_in_pieces_stays() -> None:
    async def body(guard: ConnectionGuard, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in (b"GET / HTTP/1.1\r", b"\n\r", b"\n"):
            writer.write(piece)
            assert await reader.readexactly(len(piece)) == piece
        await asyncio.sleep(0.1)
        assert len(guard) == 1
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()
        await until(lambda: len(guard) == 0)

    with_guard(body, head_s=0.08)


@pytest.mark.parametrize(("limit", "total"), [(1, 100), (0, 1)], ids=["of one client", "of all"])
def test_a_connection_over_a_limit_is_refused_and_counts_no_more(limit: int, total: int) -> None:
    async def body(guard: ConnectionGuard, port: int) -> None:
        _reader, first = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: len(guard) == 1)
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 429 ")
            writer.close()
        assert len(guard) == 1
        first.close()
        await until(lambda: len(guard) == 0)

    with_guard(body, limit=limit, total=total)
