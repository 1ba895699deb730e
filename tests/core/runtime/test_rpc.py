"""RPC over a real Unix socket: calls, streams with credit, errors, deadlines, garbage."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chowk.core import codec, errors
from chowk.core.requests import Empty, Message, Method
from chowk.core.runtime.rpc import frames
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.endpoints import Endpoints, Peer
from chowk.core.runtime.rpc.frames import FrameError, FrameReader
from chowk.core.runtime.rpc.listener import RpcListener, dial_unix
from chowk.core.runtime.sockets import PortTaken


class Number(Message, frozen=True, kw_only=True):
    value: int


DOUBLE = Method("Test.Double", Number, Number, "")
FAIL = Method("Test.Fail", Empty, Empty, "")
HANG = Method("Test.Hang", Empty, Empty, "")
COUNT = Method("Test.Count", Number, Number, "")


class Served:
    """A listener with test endpoints; records what was cancelled and how far a stream was produced."""

    def __init__(self, path: Path) -> None:
        self.cancelled = asyncio.Event()
        self.produced = 0
        self.stream_closed = asyncio.Event()
        endpoints = Endpoints()
        endpoints.serve(DOUBLE, self._double)
        endpoints.serve(FAIL, self._fail)
        endpoints.serve(HANG, self._hang)
        endpoints.serve_stream(COUNT, self._count)
        self.listener = RpcListener(path, endpoints)

    async def _double(self, request: Number, _peer: Peer) -> Number:
        return Number(value=request.value * 2)

    async def _fail(self, _request: Empty, _peer: Peer) -> Empty:
        raise errors.NotFound("no such thing")

    async def _hang(self, _request: Empty, _peer: Peer) -> Empty:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Empty()

    async def _count(self, request: Number, _peer: Peer) -> AsyncIterator[Number]:
        try:
            for value in range(request.value):
                self.produced = value
                yield Number(value=value)
        finally:
            self.stream_closed.set()


def over_a_socket(tmp_path: Path, scene: object) -> None:
    async def main() -> None:
        served = Served(tmp_path / "s.sock")
        await served.listener.start()
        connection = await dial_unix(tmp_path / "s.sock")
        try:
            async with asyncio.timeout(20):
                await scene(served, connection)  # type: ignore[operator]
        finally:
            await connection.close()
            await served.listener.close()

    asyncio.run(main())


def test_calls_are_answered_whatever_their_order(tmp_path: Path) -> None:
    async def scene(_served: Served, connection: RpcConnection) -> None:
        calls = [connection.call(DOUBLE, Number(value=n), timeout_s=5) for n in range(200)]
        assert [reply.value for reply in await asyncio.gather(*calls)] == [2 * n for n in range(200)]

    over_a_socket(tmp_path, scene)


def test_errors_keep_their_kind_and_text(tmp_path: Path) -> None:
    async def scene(_served: Served, connection: RpcConnection) -> None:
        with pytest.raises(errors.NotFound, match="no such thing"):
            await connection.call(FAIL, Empty(), timeout_s=5)
        with pytest.raises(errors.InvalidRequest, match="unknown method"):
            await connection.call(Method("No.Such", Empty, Empty, ""), Empty(), timeout_s=5)

    over_a_socket(tmp_path, scene)


def test_a_deadline_ends_the_call_at_both_ends(tmp_path: Path) -> None:
    async def scene(served: Served, connection: RpcConnection) -> None:
        with pytest.raises(errors.DeadlineExceeded):
            await connection.call(HANG, Empty(), timeout_s=0.05)
        await served.cancelled.wait()

    over_a_socket(tmp_path, scene)


def test_a_caller_that_is_cancelled_cancels_the_handler(tmp_path: Path) -> None:
    async def scene(served: Served, connection: RpcConnection) -> None:
        task = asyncio.ensure_future(connection.call(HANG, Empty(), timeout_s=60))
        await connection.call(DOUBLE, Number(value=1), timeout_s=5)
        task.cancel()
        await served.cancelled.wait()

    over_a_socket(tmp_path, scene)


def test_a_stream_delivers_all_in_order(tmp_path: Path) -> None:
    async def scene(_served: Served, connection: RpcConnection) -> None:
        values = [item.value async for item in connection.stream(COUNT, Number(value=500))]
        assert values == list(range(500))

    over_a_socket(tmp_path, scene)


def test_a_slow_reader_holds_the_producer_back_and_leaving_ends_it(tmp_path: Path) -> None:
    async def scene(served: Served, connection: RpcConnection) -> None:
        stream = connection.stream(COUNT, Number(value=1_000_000))
        assert (await anext(stream)).value == 0
        await connection.call(DOUBLE, Number(value=1), timeout_s=5)
        assert served.produced < 100
        await stream.aclose()  # type: ignore[attr-defined]
        await served.stream_closed.wait()

    over_a_socket(tmp_path, scene)


def test_a_lost_connection_leaves_the_outcome_of_a_call_unknown(tmp_path: Path) -> None:
    async def scene(served: Served, connection: RpcConnection) -> None:
        task = asyncio.ensure_future(connection.call(HANG, Empty(), timeout_s=60))
        await connection.call(DOUBLE, Number(value=1), timeout_s=5)
        await served.listener.close()
        with pytest.raises(errors.OutcomeUnknown, match="the local process"):  # clients of HTTP read it: no pid
            await task
        with pytest.raises(errors.Unavailable, match="connection to the local process"):
            await connection.call(DOUBLE, Number(value=1), timeout_s=5)

    over_a_socket(tmp_path, scene)


def test_garbage_ends_only_the_connection_it_came_on(tmp_path: Path) -> None:
    async def scene(_served: Served, connection: RpcConnection) -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s.sock"))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert (await connection.call(DOUBLE, Number(value=4), timeout_s=5)).value == 8

    over_a_socket(tmp_path, scene)


def test_nobody_listening_is_said_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable, match=r"absent\.sock"):
        asyncio.run(dial_unix(tmp_path / "absent.sock"))


def test_a_live_socket_is_not_taken_over_but_a_stale_one_is(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()

    async def main() -> None:
        first = RpcListener(path, Endpoints())
        await first.start()
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(PortTaken):
            await RpcListener(path, Endpoints()).start()
        await first.close()
        assert not path.exists()

    asyncio.run(main())


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_the_frame_reader_takes_any_bytes_in_any_pieces(pieces: list[bytes]) -> None:
    reader = FrameReader(frame_bytes_max=1000)
    try:
        for piece in pieces:
            list(reader.feed(piece))
    except FrameError:
        pass


@given(st.integers(1, 40), st.integers(1, 7))
def test_frames_cut_anywhere_come_out_whole(count: int, size: int) -> None:
    data = b"".join(frames.encode(frames.REQUEST, number, "Test.Double", 5) for number in range(count))
    reader = FrameReader()
    got = [frame for start in range(0, len(data), size) for frame in reader.feed(data[start : start + size])]
    assert [(frame.kind, frame.call, frame.method) for frame in got] == [
        (frames.REQUEST, number, "Test.Double") for number in range(count)
    ]


def test_an_oversized_frame_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameError, match="over the limit"):
        list(FrameReader(frame_bytes_max=10).feed((11).to_bytes(4, "big")))


def test_a_body_nested_without_end_is_a_decoding_error_like_any_other() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        codec.unpack(b"\x91" * 100_000 + b"\xc0", object)


def test_a_frame_nested_without_end_is_refused() -> None:
    deep = b"\x91" * 100_000 + b"\xc0"
    with pytest.raises(FrameError):
        list(FrameReader().feed(len(deep).to_bytes(4, "big") + deep))
