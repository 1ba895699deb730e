"""The agent's way to the servers: one connection, redialled for ever; calls within a deadline; subscriptions for ever.

Made by `agent.boot`; every room of the agent that needs the registry calls through it. A shell: the retry rule is `_again`.

A read is tried again for as long as its deadline and RPC_HOLD_S allow when no server could be reached or nobody leads. A
write is tried again only as the very same `Write` (client id and sequence), which the servers apply once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from random import Random
from typing import Final, TypeVar
from uuid import uuid4

import structlog

from chowk.core import errors
from chowk.core.commands import AnyCommand
from chowk.core.events import StreamFrame, Topic
from chowk.core.requests import SUBSCRIBE, Method, SubscribeRequest, Write
from chowk.core.runtime.clock import Clock, SystemClock
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.listener import dial_unix
from chowk.core.runtime.tasks import TaskOwner

Q = TypeVar("Q")
A = TypeVar("A")
log = structlog.get_logger("chowk.client")

TIMEOUT_S: Final = 10.0
RPC_HOLD_S: Final = 7.0
"""How long a call is held back and tried again while no server can take it (Consul's rpc_hold_timeout)."""

WRITES_MAX: Final = 64
"""Writes under way at a time, the others wait in order: well inside the window of results that the servers remember."""

RETRY_FIRST_S: Final = 0.05
RETRY_MAX_S: Final = 1.0
DIAL_RETRY_MAX_S: Final = 2.0


class ServerClient:
    """`start` keeps one connection to the server at Unix socket `path` until `close`."""

    def __init__(self, path: Path, clock: Clock | None = None, rng: Random | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._rng = rng or Random()
        self._tasks = TaskOwner("client")
        self._connection: RpcConnection | None = None
        self._connected = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._lost_at: float | None = self._clock.now()
        self._client_id = uuid4().hex
        self._sequence = 0
        self._writes = asyncio.Semaphore(WRITES_MAX)

    async def start(self) -> None:
        """Begin to dial; returns at once, whether or not a server is there."""
        self._tasks.spawn(self._keep_connected(), "dial")

    async def close(self) -> None:
        """Let go of the connection; calls under way end with Unavailable or OutcomeUnknown."""
        await self._tasks.close()
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        self._connected.clear()

    @property
    def connected(self) -> bool:
        """True while there is a connection to a server."""
        return self._connection is not None and not self._connection.closed

    @property
    def silent_s(self) -> float:
        """Seconds since the last server was lost; 0 while there is one."""
        return 0.0 if self._lost_at is None else max(0.0, self._clock.now() - self._lost_at)

    def on_connect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back soon after each new connection; returns what ends that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def next_write(self, command: AnyCommand, *, datacenter: str = "", token: str = "") -> Write:
        """A write of its own: the same `Write` may be called again after an error, and applies once."""
        self._sequence += 1
        return Write(
            command=command, client=self._client_id, sequence=self._sequence, datacenter=datacenter, token=token
        )

    async def call(self, method: Method[Q, A], request: Q, *, timeout_s: float = TIMEOUT_S) -> A:
        """Call and await the answer. ChowkErrors as the servers sent them; Unavailable or NoLeader once RPC_HOLD_S or the
        deadline passed without a server that can answer; OutcomeUnknown: a write that may or may not have happened.
        """
        if isinstance(request, Write):
            async with self._writes:
                return await self._call(method, request, timeout_s)
        return await self._call(method, request, timeout_s)

    async def _call(self, method: Method[Q, A], request: Q, timeout_s: float) -> A:
        started = self._clock.now()
        delay_s = RETRY_FIRST_S
        while True:
            left_s = timeout_s - (self._clock.now() - started)
            try:
                connection = await self._wait_connection(min(RPC_HOLD_S, left_s))
                return await connection.call(method, request, timeout_s=max(0.001, left_s))
            except errors.ChowkError as error:
                pause_s = delay_s * self._rng.uniform(0.5, 1.0)
                spent_s = self._clock.now() - started + pause_s
                if not _again(error, request) or spent_s >= min(RPC_HOLD_S, timeout_s):
                    raise
            await self._clock.sleep(pause_s)
            delay_s = min(delay_s * 2, RETRY_MAX_S)

    async def subscribe(self, topic: Topic) -> AsyncIterator[StreamFrame]:
        """Frames of a topic for ever, across lost connections: resumed by index, or started anew with a `reset`. Ends only
        when the iterator is closed, or with a ChowkError that trying again cannot mend (InvalidRequest, PermissionDenied).
        """
        index, history, complete, delay_s = 0, "", False, RETRY_FIRST_S
        while True:
            try:
                connection = await self._wait_connection(None)
                request = SubscribeRequest(topic=topic, index=index if complete else 0, history=history)
                async with aclosing(connection.stream(SUBSCRIBE, request)) as frames:  # type: ignore[type-var]
                    async for frame in frames:
                        if frame.reset:
                            complete = False
                        complete = complete or frame.snapshot_done
                        index, history, delay_s = frame.index, frame.history, RETRY_FIRST_S
                        yield frame
            except (errors.InvalidRequest, errors.PermissionDenied):
                raise
            except errors.ChowkError as error:
                log.debug("subscription interrupted", topic=topic, error=str(error))
            await self._clock.sleep(delay_s * self._rng.uniform(0.5, 1.0))
            delay_s = min(delay_s * 2, DIAL_RETRY_MAX_S)

    async def _wait_connection(self, timeout_s: float | None) -> RpcConnection:
        if not self.connected:
            if timeout_s is not None and timeout_s <= 0:
                raise errors.Unavailable("no server can be reached")
            try:
                async with asyncio.timeout(timeout_s):
                    await self._connected.wait()
            except TimeoutError:
                raise errors.Unavailable("no server can be reached") from None
        if self._connection is None:
            raise errors.Unavailable("no server can be reached")
        return self._connection

    async def _keep_connected(self) -> None:
        delay_s = RETRY_FIRST_S
        while True:
            try:
                connection = await dial_unix(self._path)
            except errors.ChowkError as error:
                log.debug("no server", path=str(self._path), error=str(error))
            else:
                delay_s = RETRY_FIRST_S
                await self._hold(connection)
            await self._clock.sleep(delay_s * self._rng.uniform(0.5, 1.0))
            delay_s = min(delay_s * 2, DIAL_RETRY_MAX_S)

    async def _hold(self, connection: RpcConnection) -> None:
        self._connection = connection
        self._connected.set()
        log.info("connected to a server", path=str(self._path))
        self._lost_at = None
        for callback in list(self._callbacks):
            asyncio.get_running_loop().call_soon(callback)
        try:
            await connection.wait_closed()
        finally:
            self._connected.clear()
            self._connection = None
            self._lost_at = self._clock.now()
            if not connection.closed:
                await connection.close()
        log.warning("lost the connection to the server", path=str(self._path))


def _again(error: errors.ChowkError, request: object) -> bool:
    """May this call be made again? What was not done may; what perhaps was done may when it applies once (a Write) or
    changes nothing (any other request but a CA configuration, which is written by compare-and-set).
    """
    if isinstance(error, (errors.NoLeader, errors.Unavailable)):
        return True
    return isinstance(error, errors.OutcomeUnknown) and (isinstance(request, Write) or hasattr(request, "options"))
