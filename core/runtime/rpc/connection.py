"""One RPC connection, both ends alike: calls and streams go out, handlers of `Endpoints` answer what comes in.

A stream has credit: the callee sends no more items than the caller has asked for, so a slow reader costs no memory.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final, TypeVar, cast

import msgspec
import structlog

from chowk.core import codec, errors
from chowk.core.requests import Method
from chowk.core.runtime.rpc import frames
from chowk.core.runtime.rpc.endpoints import Endpoints, Peer
from chowk.core.runtime.rpc.frames import Frame, FrameError, FrameReader
from chowk.core.runtime.tasks import TaskOwner

Q = TypeVar("Q")
A = TypeVar("A")
log = structlog.get_logger("chowk.rpc")

CALLS_IN_MAX: Final = 65_536
"""Calls and streams one peer may have open; more are answered `too-many`."""
STREAM_CREDIT: Final = 32
CLOSE_TIMEOUT_S: Final = 1.0
_WRITE_BUFFER_BYTES: Final = 1024 * 1024


class _Incoming:
    """A stream the other end answers: items in order, then an end or an error."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[msgspec.Raw | errors.ChowkError | None] = asyncio.Queue()


class RpcConnection(asyncio.Protocol):
    """Made by `RpcListener` or `dial_unix`. Raises Unavailable when closed, ChowkErrors as the peer sent them."""

    def __init__(self, endpoints: Endpoints, on_close: Callable[[RpcConnection], None] | None = None) -> None:
        self._endpoints = endpoints
        self._on_close = on_close
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._next_call = 0
        self._replies: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._streams: dict[int, _Incoming] = {}
        self._running: dict[int, asyncio.Task[Any]] = {}
        self._credit: dict[int, asyncio.Semaphore] = {}
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._tasks = TaskOwner("rpc")
        self._closed = asyncio.Event()
        self.peer = Peer("?")

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        stream = cast(asyncio.Transport, transport)
        stream.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self._transport = stream
        self.peer = _peer_of(stream)

    def data_received(self, data: bytes) -> None:
        """Called by the loop; garbage ends the connection."""
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except FrameError as error:
            log.warning("rpc connection refused", peer=self.peer.name, reason=str(error))
            self.abort()

    def pause_writing(self) -> None:
        """Called by the loop when the peer reads too slowly: streams wait."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._can_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop: everything under way ends."""
        reason = f"connection to {self.peer.name} lost" + (f": {exc}" if exc else "")
        for future in self._replies.values():
            if not future.done():
                future.set_exception(errors.OutcomeUnknown(reason))
        for stream in self._streams.values():
            stream.items.put_nowait(errors.Unavailable(reason))
        for task in self._running.values():
            task.cancel()
        self._can_write.set()
        self._closed.set()
        if self._on_close is not None:
            self._on_close(self)

    # --- the caller's side

    @property
    def closed(self) -> bool:
        """True once nothing can be sent any more."""
        return self._closed.is_set() or self._transport is None or self._transport.is_closing()

    async def wait_closed(self) -> None:
        """Return when the connection has ended."""
        await self._closed.wait()

    async def call(self, method: Method[Q, A], request: Q, *, timeout_s: float) -> A:
        """Call and await the one answer. DeadlineExceeded after `timeout_s`; the peer is told to stop."""
        call = self._open_call()
        future: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._replies[call] = future
        self._send(Frame(frames.REQUEST, call, method.name, int(timeout_s * 1000), msgspec.Raw(codec.pack(request))))
        try:
            async with asyncio.timeout(timeout_s):
                body = await future
        except TimeoutError:
            self._send_if_open(Frame(frames.CANCEL, call))
            raise errors.DeadlineExceeded(f"{method.name}: no answer from {self.peer.name} in {timeout_s:g}s") from None
        except asyncio.CancelledError:
            self._send_if_open(Frame(frames.CANCEL, call))
            raise
        finally:
            self._replies.pop(call, None)
        return _decode(body, method.reply)

    async def stream(self, method: Method[Q, A], request: Q) -> AsyncIterator[A]:
        """The items of a streaming method, until it ends; close the iterator to cancel."""
        call = self._open_call()
        incoming = self._streams[call] = _Incoming()
        self._send(Frame(frames.STREAM, call, method.name, STREAM_CREDIT, msgspec.Raw(codec.pack(request))))
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
                self._send_if_open(Frame(frames.CREDIT, call, "", 1))
                yield _decode(item, method.reply)
        finally:
            self._streams.pop(call, None)
            if not finished:
                self._send_if_open(Frame(frames.CANCEL, call))

    async def close(self) -> None:
        """End the connection and everything under way on it; a peer that does not take what is left is dropped."""
        transport = self._transport
        if transport is not None:
            transport.close()
        await self._tasks.close()
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
        if self.closed:
            raise errors.Unavailable(f"connection to {self.peer.name} is closed")
        self._next_call += 1
        return self._next_call

    def _send(self, frame: Frame) -> None:
        if self._transport is not None:
            self._transport.write(frames.encode(frame))

    def _send_if_open(self, frame: Frame) -> None:
        if not self.closed:
            self._send(frame)

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case frames.REQUEST:
                self._start(frame, self._answer(frame))
            case frames.STREAM:
                self._credit[frame.call] = asyncio.Semaphore(min(frame.number, 1024))
                self._start(frame, self._answer_stream(frame))
            case frames.REPLY:
                future = self._replies.get(frame.call)
                if future is not None and not future.done():
                    future.set_result(frame.body)
            case frames.ITEM:
                if frame.call in self._streams:
                    self._streams[frame.call].items.put_nowait(frame.body)
            case frames.END:
                if frame.call in self._streams:
                    self._streams[frame.call].items.put_nowait(None)
            case frames.ERROR:
                self._fail(frame)
            case frames.CREDIT:
                credit = self._credit.get(frame.call)
                for _ in range(min(frame.number, 1024) if credit else 0):
                    credit.release()  # type: ignore[union-attr]
            case frames.CANCEL:
                task = self._running.get(frame.call)
                if task is not None:
                    task.cancel()
            case _:
                raise FrameError(f"unknown kind of frame {frame.kind}")

    def _fail(self, frame: Frame) -> None:
        try:
            text = codec.unpack(frame.body, str)
        except ValueError as error:
            raise FrameError(f"an error frame without text: {error}") from error
        kind = errors.BY_CODE.get(frame.method, errors.InternalError)
        failure = kind(text)
        future = self._replies.get(frame.call)
        if future is not None and not future.done():
            future.set_exception(failure)
        if frame.call in self._streams:
            self._streams[frame.call].items.put_nowait(failure)

    # --- the callee's side

    def _start(self, frame: Frame, work: Any) -> None:
        if frame.call in self._running or len(self._running) >= CALLS_IN_MAX:
            work.close()
            self._credit.pop(frame.call, None)
            text = f"over {CALLS_IN_MAX} calls open on one connection, or a call number used twice"
            self._send_error(frame.call, errors.TooManyRequests(text))
            return
        task = self._tasks.spawn(work, frame.method)
        self._running[frame.call] = task
        task.add_done_callback(lambda _task: self._finished(frame.call))

    def _finished(self, call: int) -> None:
        self._running.pop(call, None)
        self._credit.pop(call, None)

    async def _answer(self, frame: Frame) -> None:
        try:
            entry = self._endpoints.calls.get(frame.method)
            if entry is None:
                raise errors.InvalidRequest(f"unknown method {frame.method}")
            method, handler = entry
            request = _decode(frame.body, method.request)
            async with asyncio.timeout(frame.number / 1000 if frame.number else None):
                reply = await handler(request, self.peer)
            payload = frames.encode(Frame(frames.REPLY, frame.call, "", 0, msgspec.Raw(codec.pack(reply))))
        except TimeoutError:
            self._send_error(frame.call, errors.DeadlineExceeded(f"{frame.method}: the deadline passed"))
        except FrameError as error:
            self._send_error(frame.call, errors.TooLarge(str(error)))
        except errors.ChowkError as error:
            self._send_error(frame.call, error)
        except Exception as error:
            self._send_error(frame.call, errors.InternalError(f"{frame.method}: {error}"))
            raise
        else:
            await self._can_write.wait()
            if self._transport is not None:
                self._transport.write(payload)

    async def _answer_stream(self, frame: Frame) -> None:
        credit = self._credit[frame.call]
        try:
            entry = self._endpoints.streams.get(frame.method)
            if entry is None:
                raise errors.InvalidRequest(f"unknown stream {frame.method}")
            method, handler = entry
            request = _decode(frame.body, method.request)
            async with aclosing(handler(request, self.peer)) as items:  # type: ignore[type-var]
                async for item in items:
                    await credit.acquire()
                    await self._can_write.wait()
                    self._send_if_open(Frame(frames.ITEM, frame.call, "", 0, msgspec.Raw(codec.pack(item))))
            self._send_if_open(Frame(frames.END, frame.call))
        except errors.ChowkError as error:
            self._send_error(frame.call, error)
        except Exception as error:
            self._send_error(frame.call, errors.InternalError(f"{frame.method}: {error}"))
            raise

    def _send_error(self, call: int, error: errors.ChowkError) -> None:
        self._send_if_open(Frame(frames.ERROR, call, error.code, 0, msgspec.Raw(codec.pack(str(error)))))


def _decode(body: msgspec.Raw, kind: type[A]) -> A:
    try:
        return codec.unpack(body, kind)
    except ValueError as error:
        raise errors.InvalidRequest(f"not a {kind.__name__}: {error}") from error


def _peer_of(transport: asyncio.Transport) -> Peer:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return Peer(f"pid {pid}", pid, uid)
    return Peer(str(transport.get_extra_info("peername")))
