"""The callee's side of a connection: handlers of `Endpoints` answer what the peer asks. Used by `connection`.

A stream has credit: no more items are sent than the caller has asked for, so a slow reader costs no memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final, TypeVar, cast

import structlog

from chowk.core import codec, errors
from chowk.core.runtime.rpc import frames
from chowk.core.runtime.rpc.endpoints import AGENT, LOCAL, SERVER, Endpoints, Peer
from chowk.core.runtime.rpc.frames import Frame, FrameError
from chowk.core.runtime.rpc.outbox import Outbox
from chowk.core.runtime.tasks import TaskOwner

A = TypeVar("A")
log = structlog.get_logger("chowk.rpc")

CALLS_IN_MAX: Final = {LOCAL: 65_536, SERVER: 65_536, AGENT: 16_384}
"""Calls and streams one peer of a role may have open; more are answered `too-many`."""

REQUEST_BYTES_MAX: Final = 128 * 1024 * 1024
"""Bytes of requests that one peer may have under way; more are answered `too-many`."""

CREDIT_MAX: Final = 1024


class Answers:
    """What one peer asked for and has not got yet."""

    def __init__(self, endpoints: Endpoints, outbox: Outbox) -> None:
        self.peer = Peer("?")
        self._endpoints = endpoints
        self._outbox = outbox
        self._tasks = TaskOwner("rpc")
        self._running: dict[int, asyncio.Task[None]] = {}
        self._expired: set[int] = set()
        self._credit: dict[int, asyncio.Semaphore] = {}
        self._bytes = 0

    def start_call(self, frame: Frame) -> None:
        """A REQUEST."""
        self._start(frame, self._answer)

    def start_stream(self, frame: Frame) -> None:
        """A STREAM."""
        if self._start(frame, self._answer_stream):
            self._credit[frame.call] = asyncio.Semaphore(max(0, min(frame.number, CREDIT_MAX)))

    def notice(self, frame: Frame) -> None:
        """A NOTICE. One that cannot be read is dropped like one that got lost, but said."""
        entry = self._endpoints.notices.get(frame.method)
        try:
            if entry is None:
                raise errors.InvalidRequest(f"unknown notice {frame.method[:64]!r}")
            method, handler = entry
            handler(decode(frame.body, method.request), self.peer)
        except errors.ChowkError as error:
            log.debug("rpc notice dropped", peer=self.peer.name, method=frame.method[:64], error=str(error))

    def credit(self, frame: Frame) -> None:
        """A CREDIT."""
        credit = self._credit.get(frame.call)
        if credit is not None:
            for _ in range(min(frame.number, CREDIT_MAX)):
                credit.release()

    def cancel(self, call: int) -> None:
        """A CANCEL, or the end of the call's time."""
        task = self._running.get(call)
        if task is not None:
            task.cancel()

    def cancel_all(self) -> None:
        """The connection is gone."""
        for task in self._running.values():
            task.cancel()

    async def close(self) -> None:
        """End everything under way, and wait for it."""
        await self._tasks.close()

    def _start(self, frame: Frame, answer: Callable[[Frame], Coroutine[Any, Any, None]]) -> bool:
        calls_max = CALLS_IN_MAX[self.peer.role]
        size = len(frame.body)
        if frame.call in self._running or len(self._running) >= calls_max or self._bytes + size > REQUEST_BYTES_MAX:
            text = f"over {calls_max} calls or {REQUEST_BYTES_MAX} bytes open on one connection, or a call number used twice"
            self._send_error(frame.call, errors.TooManyRequests(text))
            return False
        self._bytes += size
        task = self._running[frame.call] = self._tasks.spawn(answer(frame), frame.method)
        task.add_done_callback(lambda _task: self._finished(frame.call, size))
        return True

    def _finished(self, call: int, size: int) -> None:
        self._bytes -= size
        self._running.pop(call, None)
        self._credit.pop(call, None)
        self._expired.discard(call)

    def _expire(self, call: int) -> None:
        self._expired.add(call)
        self.cancel(call)

    async def _answer(self, frame: Frame) -> None:
        call = frame.call
        timer = (
            asyncio.get_running_loop().call_later(frame.number / 1000, self._expire, call) if frame.number > 0 else None
        )
        try:
            entry = self._endpoints.calls.get(frame.method)
            if entry is None:
                raise errors.InvalidRequest(f"unknown method {frame.method}")
            method, handler = entry
            reply = await handler(decode(frame.body, method.request), self.peer)
            if self._outbox.full:
                await self._outbox.room()
            self._outbox.put(frames.encode(frames.REPLY, call, "", 0, reply))
        except asyncio.CancelledError:
            if call not in self._expired:
                raise
            self._send_error(call, errors.DeadlineExceeded(f"{frame.method}: the deadline passed"))
        except FrameError as error:
            self._send_error(call, errors.TooLarge(str(error)))
        except errors.ChowkError as error:
            self._send_error(call, error)
        except Exception as error:
            self._send_error(call, errors.InternalError(f"{frame.method}: {error}"))
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def _answer_stream(self, frame: Frame) -> None:
        call = frame.call
        try:
            entry = self._endpoints.streams.get(frame.method)
            if entry is None:
                raise errors.InvalidRequest(f"unknown stream {frame.method}")
            method, handler = entry
            request = decode(frame.body, method.request)
            async with aclosing(cast(AsyncGenerator[Any, None], handler(request, self.peer))) as items:
                async for item in items:
                    await self._credit[call].acquire()
                    await self._outbox.room()
                    self._outbox.put(frames.encode(frames.ITEM, call, "", 0, item))
            self._outbox.put(frames.encode(frames.END, call))
        except FrameError as error:
            self._send_error(call, errors.TooLarge(str(error)))
        except errors.ChowkError as error:
            self._send_error(call, error)
        except Exception as error:
            self._send_error(call, errors.InternalError(f"{frame.method}: {error}"))
            raise

    def _send_error(self, call: int, error: errors.ChowkError) -> None:
        self._outbox.put(frames.encode(frames.ERROR, call, error.code, 0, str(error)))


def decode(body: Any, kind: type[A]) -> A:
    """A record off the wire. InvalidRequest when it is not one."""
    try:
        return codec.unpack(body, kind)
    except ValueError as error:
        raise errors.InvalidRequest(f"not a {kind.__name__}: {error}") from error
