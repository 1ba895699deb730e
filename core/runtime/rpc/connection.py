"""One RPC connection, both ends alike: calls, streams and notices go out here, `answers` sees to what comes in.

Liveness, on the end that asked for it with `watch`: while an answer or a stream is awaited or something was sent, silence
for TICK_S is met with a PING, and silence for SILENT_TICKS_MAX ticks ends the connection: a peer that is dead, frozen or cut
off is noticed within 0.8 s. With nothing under way it is asked every IDLE_PING_TICKS. Silence is counted in ticks of our own
loop, not by the clock: when it was we who stood still, what came meanwhile is read before the next tick counts.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar, cast

import msgspec
import structlog

from chowk.core import codec, errors
from chowk.core.requests import Method
from chowk.core.runtime.rpc import frames
from chowk.core.runtime.rpc.answers import Answers, decode
from chowk.core.runtime.rpc.endpoints import Endpoints, Peer
from chowk.core.runtime.rpc.frames import FRAME_BYTES_MAX, Frame, FrameError, FrameReader
from chowk.core.runtime.rpc.outbox import Outbox

Q = TypeVar("Q")
A = TypeVar("A")
Identify = Callable[[asyncio.Transport], Peer]
log = structlog.get_logger("chowk.rpc")

STREAM_CREDIT: Final = 32
CLOSE_TIMEOUT_S: Final = 1.0
TICK_S: Final = 0.2
SILENT_TICKS_MAX: Final = 3
IDLE_PING_TICKS: Final = 25


class _Incoming:
    """A stream the other end answers: items in order, then an end or an error. At most its credit, and the end."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[msgspec.Raw | errors.ChowkError | None] = asyncio.Queue(STREAM_CREDIT + 2)


class RpcConnection(asyncio.Protocol):
    """Made by the listeners and `dial_…`. Raises Unavailable when closed, ChowkErrors as the peer sent them.

    `identify` says who the peer is once the transport is there; a ChowkError it raises ends the connection (`refusal`).
    """

    def __init__(
        self,
        endpoints: Endpoints,
        on_close: Callable[[RpcConnection], None] | None = None,
        *,
        identify: Identify | None = None,
        frame_bytes_first: int = FRAME_BYTES_MAX,
    ) -> None:
        self._on_close = on_close
        self._identify = identify or peer_of_socket
        self._reader = FrameReader(frame_bytes_first)
        self._outbox = Outbox()
        self._answers = Answers(endpoints, self._outbox)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._next_call = 0
        self._replies: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._streams: dict[int, _Incoming] = {}
        self._pongs: list[asyncio.Future[None]] = []
        self._closed = asyncio.Event()
        self._heard = True
        self._sent = False
        self._quiet_ticks = 0
        self._silent_ticks = 0
        self._ticker: asyncio.TimerHandle | None = None
        self.peer = Peer("?")
        self.refusal: errors.ChowkError | None = None
        self.proved = False
        """Whether the peer has sent a frame."""

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop, after the handshake where there is one."""
        stream = cast(asyncio.Transport, transport)
        self._transport = stream
        try:
            self.peer = self._answers.peer = self._identify(stream)
        except errors.ChowkError as error:
            self.refusal = error
            stream.abort()
            return
        self._outbox.attach(stream)

    def data_received(self, data: bytes) -> None:
        """Called by the loop; garbage ends the connection."""
        if self.refusal is not None:
            return
        self._heard = True
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except FrameError as error:
            self.refusal = errors.InvalidRequest(f"{self.peer.name}: {error}")
            log.warning("rpc connection refused", peer=self.peer.name, reason=str(error))
            self.abort()

    def pause_writing(self) -> None:
        """Called by the loop when the peer reads too slowly."""
        self._outbox.pause(True)

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._outbox.pause(False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop: everything under way ends."""
        why = f": {exc}" if exc else "" if self.peer.pid is None else "; the agent's log says why"
        reason = f"connection to {self.peer.public_name} lost{why}"
        self._outbox.detach()
        self._closed.set()
        if self._ticker is not None:
            self._ticker.cancel()
        waiting: list[asyncio.Future[Any]] = [*self._replies.values(), *self._pongs]
        for future in waiting:
            if not future.done():
                future.set_exception(errors.OutcomeUnknown(reason))
        for stream in self._streams.values():
            _end(stream, errors.Unavailable(reason))
        self._answers.cancel_all()
        if self._on_close is not None:
            self._on_close(self)

    # --- the caller's side

    @property
    def closed(self) -> bool:
        """True once nothing can be sent any more."""
        return self._closed.is_set() or self._transport is None or self._transport.is_closing()

    @property
    def idle(self) -> bool:
        """True while no call and no stream of ours is under way."""
        return not self._replies and not self._streams

    async def wait_closed(self) -> None:
        """Return when the connection has ended."""
        await self._closed.wait()

    async def call(self, method: Method[Q, A], request: Q, *, timeout_s: float) -> A:
        """Call and await the one answer. DeadlineExceeded after `timeout_s`; the peer is told to stop."""
        if self._outbox.full:
            timeout_s -= await self._wait_room(method.name, timeout_s)
        call = self._open_call()
        future: asyncio.Future[msgspec.Raw] = self._loop.create_future()
        self._replies[call] = future
        timer = self._loop.call_later(timeout_s, self._expire, call, method.name, timeout_s)
        try:
            self._send(frames.encode(frames.REQUEST, call, method.name, max(1, int(timeout_s * 1000)), request))
            body = await future
        except (asyncio.CancelledError, errors.DeadlineExceeded):
            self._send(frames.encode(frames.CANCEL, call))
            raise
        finally:
            timer.cancel()
            self._replies.pop(call, None)
        return decode(body, method.reply)

    async def stream(self, method: Method[Q, A], request: Q) -> AsyncIterator[A]:
        """The items of a streaming method, until it ends; close the iterator to cancel."""
        call = self._open_call()
        incoming = self._streams[call] = _Incoming()
        self._send(frames.encode(frames.STREAM, call, method.name, STREAM_CREDIT, request))
        finished = False
        try:
            while True:
                item = await incoming.items.get()
                if item is None:
                    finished = True
                    return
                if isinstance(item, errors.ChowkError):
                    finished = True
                    raise item
                self._send(frames.encode(frames.CREDIT, call, "", 1))
                yield decode(item, method.reply)
        finally:
            self._streams.pop(call, None)
            if not finished:
                self._send(frames.encode(frames.CANCEL, call))

    def notify(self, method: Method[Q, A], request: Q) -> bool:
        """Send a message that has no answer. False: dropped, for the peer reads too slowly or is gone."""
        if self.closed or self._outbox.full:
            return False
        self._send(frames.encode(frames.NOTICE, 0, method.name, 0, request))
        return True

    async def ping(self, timeout_s: float) -> None:
        """Return when the peer has answered. The peer's `refusal`, Unavailable, or DeadlineExceeded."""
        self._require_open()
        future: asyncio.Future[None] = self._loop.create_future()
        self._pongs.append(future)
        self._send(frames.encode(frames.PING, 0))
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            raise errors.DeadlineExceeded(f"{self.peer.public_name} does not answer") from None
        finally:
            if future in self._pongs:
                self._pongs.remove(future)

    def watch(self) -> None:
        """Notice from now on when the peer falls silent."""
        if self._ticker is None and not self.closed:
            self._ticker = self._loop.call_later(TICK_S, self._tick)

    async def drain(self, timeout_s: float) -> None:
        """Leave for another: streams end at once with Unavailable, calls under way get `timeout_s`; then close."""
        for call, stream in self._streams.items():
            _end(stream, errors.Unavailable(f"left {self.peer.public_name} for another server"))
            self._send(frames.encode(frames.CANCEL, call))
        try:
            async with asyncio.timeout(timeout_s):
                while self._replies and not self.closed:
                    await asyncio.wait(tuple(self._replies.values()))
        except TimeoutError:
            log.debug("calls under way are cut off", peer=self.peer.name, calls=len(self._replies))
        finally:
            await self.close()

    async def close(self) -> None:
        """End the connection and everything under way on it; a peer that does not take what is left is dropped."""
        transport = self._transport
        if transport is not None:
            self._outbox.flush()
            transport.close()
        await self._answers.close()
        if transport is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._closed.wait()
        except TimeoutError:
            transport.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- frames

    def _open_call(self) -> int:
        self._require_open()
        self._next_call += 1
        return self._next_call

    def _require_open(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        if self.closed:
            raise errors.Unavailable(f"connection to {self.peer.public_name} is closed")

    def _send(self, frame: bytearray) -> None:
        self._sent = True
        self._outbox.put(frame)

    def _take(self, frame: Frame) -> None:
        if not self.proved:
            self.proved = True
            self._reader.frame_bytes_max = FRAME_BYTES_MAX
        match frame.kind:
            case frames.REQUEST:
                self._answers.start_call(frame)
            case frames.REPLY:
                future = self._replies.get(frame.call)
                if future is not None and not future.done():
                    future.set_result(frame.body)
            case frames.NOTICE:
                self._answers.notice(frame)
            case frames.STREAM:
                self._answers.start_stream(frame)
            case frames.ITEM:
                self._take_item(frame.call, frame.body)
            case frames.END:
                self._take_item(frame.call, None)
            case frames.ERROR:
                self._fail(frame)
            case frames.CREDIT:
                self._answers.credit(frame)
            case frames.CANCEL:
                self._answers.cancel(frame.call)
            case frames.PING:
                if not self._outbox.full:
                    self._outbox.put(frames.encode(frames.PONG, 0))
            case frames.PONG:
                for pong in self._pongs:
                    if not pong.done():
                        pong.set_result(None)
            case _:
                raise FrameError(f"unknown kind of frame {frame.kind}")

    def _take_item(self, call: int, item: msgspec.Raw | None) -> None:
        stream = self._streams.get(call)
        if stream is None:
            return
        if item is not None and stream.items.qsize() >= STREAM_CREDIT:
            raise FrameError("more items of a stream than were asked for")
        _end(stream, item)

    def _fail(self, frame: Frame) -> None:
        try:
            text = codec.unpack(frame.body, str)
        except ValueError as error:
            raise FrameError(f"an error frame without text: {error}") from error
        failure = errors.BY_CODE.get(frame.method, errors.InternalError)(text)
        if frame.call == 0:
            self.refusal = failure
            for pong in self._pongs:
                if not pong.done():
                    pong.set_exception(failure)
            self.abort()
            return
        future = self._replies.get(frame.call)
        if future is not None and not future.done():
            future.set_exception(failure)
        stream = self._streams.get(frame.call)
        if stream is not None:
            _end(stream, failure)

    # --- time

    async def _wait_room(self, method: str, timeout_s: float) -> float:
        started_s = self._loop.time()
        try:
            async with asyncio.timeout(timeout_s):
                await self._outbox.room()
        except TimeoutError:
            text = f"{method}: {self.peer.public_name} took nothing for {timeout_s:.3g}s"
            raise errors.DeadlineExceeded(text) from None
        return self._loop.time() - started_s

    def _expire(self, call: int, method: str, timeout_s: float) -> None:
        future = self._replies.get(call)
        if future is not None and not future.done():
            text = f"{method}: no answer from {self.peer.public_name} in {timeout_s:.3g}s"
            future.set_exception(errors.DeadlineExceeded(text))

    def _tick(self) -> None:
        expecting = self._sent or not self.idle
        if self._heard:
            self._heard = self._sent = False
            self._quiet_ticks = self._silent_ticks = 0
        else:
            self._quiet_ticks += 1
            self._silent_ticks += 1 if expecting else 0
        if self._silent_ticks >= SILENT_TICKS_MAX:
            log.warning("rpc peer is silent", peer=self.peer.name, seconds=round(self._silent_ticks * TICK_S, 1))
            self.abort()
            return
        if self._silent_ticks or self._quiet_ticks >= IDLE_PING_TICKS:
            self._send(frames.encode(frames.PING, 0))
        self._ticker = self._loop.call_later(TICK_S, self._tick)


def _end(stream: _Incoming, item: Any) -> None:
    """Room for two beyond the credit: an end and an error. A peer that ends a stream more often is not heard."""
    if not stream.items.full():
        stream.items.put_nowait(item)


def peer_of_socket(transport: asyncio.Transport) -> Peer:
    """Who the kernel says is there."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return Peer(f"pid {pid}", pid, uid)
    return Peer(str(transport.get_extra_info("peername")))
