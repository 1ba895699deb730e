"""Connections: counted by client, and let go when the head of the first request does not come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chowk.agent.api import connections
from chowk.agent.api.connections import EARLY_BYTES_MAX, ConnectionGuard, Waiting
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
    body: Callable[[ConnectionGuard, int], Awaitable[None]],
    *,
    limit: int = 0,
    total: int = 100,
    head_s: float = 30,
    **options: Any,
) -> None:
    async def run() -> None:
        guard = ConnectionGuard(Echo, lambda: limit, total=total, head_s=head_s, **options)
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


LARGE = b"x" * 16_000_000


def large(_data: bytes) -> Waiting:
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    future.set_result(LARGE)
    return Waiting(future, lambda done: (b"head", done.result()))


class Generous(Echo):
    """Answers much to anything."""

    def data_received(self, _data: bytes) -> None:
        self.transport.write(LARGE)


@pytest.mark.parametrize("shortcut", [large, None], ids=["the short way", "aiohttp's way"])
def test_a_client_that_takes_an_answer_byte_by_byte_is_dropped(shortcut: Any) -> None:
    async def body(guard: ConnectionGuard, port: int) -> None:
        guard.make_protocol = Generous
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: len(guard) == 1)

        async def sip() -> None:
            while await reader.read(1):
                await asyncio.sleep(0.01)

        sipping = asyncio.ensure_future(sip())
        await until(lambda: len(guard) == 0)
        writer.close()
        sipping.cancel()
        await asyncio.wait((sipping,))

    with_guard(body, slow_s=0.1, shortcut=shortcut)


def test_in_a_crowd_that_does_not_read_who_takes_nothing_is_dropped_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CROWD_S", 0.1)

    async def ask(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        return reader, writer

    async def body(guard: ConnectionGuard, port: int) -> None:
        alone = await ask(port)
        await until(lambda: guard.unread == 1)
        await asyncio.sleep(0.3)
        assert len(guard) == 1  # one that does not read has its time
        others = [await ask(port) for _ in range(3)]
        await until(lambda: guard.unread <= 2)
        assert len(guard) <= 2
        for _reader, writer in (alone, *others):
            writer.close()
        await until(lambda: len(guard) == 0)
        assert guard.unread == 0

    with_guard(body, slow_s=30, crowd=2, shortcut=large)


def test_a_client_that_reads_on_stays_and_gets_all() -> None:
    async def body(guard: ConnectionGuard, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=256 * 1024)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        left = len(LARGE) + 4
        while left:
            left -= len(await reader.read(1024 * 1024))
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)
        assert len(guard) == 1
        writer.close()
        await until(lambda: len(guard) == 0)

    with_guard(body, slow_s=0.1, shortcut=large)


def test_what_comes_before_an_answer_waits_for_it_within_a_limit_and_for_the_reader() -> None:
    async def body(guard: ConnectionGuard, port: int) -> None:
        taken: list[int] = []
        waiting: list[asyncio.Future[bytes]] = []

        def hold(data: bytes) -> Waiting:
            taken.append(len(data))
            waiting.append(asyncio.get_running_loop().create_future())
            return Waiting(waiting[-1], lambda done: (done.result(),))

        guard.shortcut = hold
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a")
        await until(lambda: taken == [1])
        writer.write(b"b" * 30_000_000)
        await asyncio.sleep(0.05)
        assert writer.transport.get_write_buffer_size() > 0  # type: ignore[attr-defined]
        waiting[0].set_result(LARGE)
        await asyncio.sleep(0.05)
        assert taken == [1]  # nothing more is answered to who does not read
        await reader.readexactly(len(LARGE))
        await until(lambda: len(taken) == 2)
        assert EARLY_BYTES_MAX < taken[1] < EARLY_BYTES_MAX * 8
        writer.transport.abort()

    with_guard(body)


def test_a_waiting_client_that_goes_away_cancels_what_it_waited_for_also_behind_more_requests() -> None:
    async def body(guard: ConnectionGuard, port: int) -> None:
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        guard.shortcut = lambda _data: Waiting(waiting, lambda done: (done.result(),))
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a")
        await until(lambda: len(guard) == 1)
        writer.write(b"b" * 1000)
        writer.write_eof()
        await until(lambda: len(guard) == 0)
        assert waiting.cancelled()
        writer.close()

    with_guard(body)
