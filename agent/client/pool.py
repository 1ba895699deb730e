"""The agent's way to the servers: calls within a deadline, and subscriptions for ever, over whichever server `link` found.

Made by `agent.boot`; every room of the agent that needs the registry calls through it. A shell: the retry rule is `_again`.

A read is tried again for as long as its deadline and RPC_HOLD_S allow when no server could be reached or nobody leads. A
write is tried again only as the very same `Write` (client id and sequence), which the servers apply once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from random import Random
from typing import Final, TypeVar
from uuid import uuid4

import structlog

from chowk.agent.client.link import DIAL_RETRY_MAX_S, ServerLink
from chowk.core import errors
from chowk.core.commands import AnyCommand
from chowk.core.events import StreamFrame, Topic
from chowk.core.requests import STALE, SUBSCRIBE, Method, QueryOptions, SubscribeRequest, Write
from chowk.core.runtime.clock import Clock, SystemClock
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.identity import ClusterIdentity

Q = TypeVar("Q")
A = TypeVar("A")
log = structlog.get_logger("chowk.client")

TIMEOUT_S: Final = 10.0
RPC_HOLD_S: Final = 7.0
"""How long a call is held back and tried again while no server can take it (Consul's rpc_hold_timeout)."""

HELD_SLACK_S: Final = 0.5
"""A server holds a call back for RPC_HOLD_S too, and gives up when its next try would be after that."""

WRITES_MAX: Final = 64
"""Writes under way at a time, the others wait in order: well inside the window of results that the servers remember."""

RETRY_FIRST_S: Final = 0.05
RETRY_MAX_S: Final = 1.0
TROUBLE_S: Final = 2.5
"""How long a server may say that it has no leader before another is tried: longer than an election."""


class ServerClient:
    """`start` keeps one connection to a server until `close`: to that at Unix socket `path`, the server of this host, as
    long as it can be used, else to one of `set_servers`, over TCP, proving `identity`.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Clock | None = None,
        rng: Random | None = None,
        *,
        identity: ClusterIdentity | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._rng = rng or Random()
        self._link = ServerLink(path, self._clock, self._rng, identity, self._connected)
        self._callbacks: list[Callable[[], None]] = []
        self._troubled_at_s: float | None = None
        self._client_id = uuid4().hex
        self._sequence = 0
        self._writes = asyncio.Semaphore(WRITES_MAX)

    async def start(self) -> None:
        """Begin to dial; returns at once, whether or not a server is there."""
        await self._link.start()

    async def close(self) -> None:
        """Let go of the connection; calls under way end with Unavailable or OutcomeUnknown."""
        await self._link.close()

    def set_servers(self, addresses: tuple[str, ...]) -> None:
        """The servers that are alive (`host:port`), from gossip; without the own one, which is reached by its socket."""
        self._link.set_servers(addresses)

    @property
    def connected(self) -> bool:
        """True while there is a connection to a server."""
        connection = self._link.connection
        return connection is not None and not connection.closed

    @property
    def server(self) -> str:
        """Who is at the other end now, for people; "" while nobody is."""
        connection = self._link.connection
        return "" if connection is None else connection.peer.name

    @property
    def silent_s(self) -> float:
        """Seconds since the last server was lost; 0 while there is one."""
        lost_at_s = self._link.lost_at_s
        return 0.0 if lost_at_s is None else max(0.0, self._clock.now() - lost_at_s)

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
        failing_since_s: float | None = None
        trouble: errors.ChowkError | None
        delay_s, trouble = RETRY_FIRST_S, None
        while True:
            tried_at_s = self._clock.now()
            left_s = timeout_s - (tried_at_s - started)
            connection: RpcConnection | None = None
            try:
                connection = await self._link.wait(min(RPC_HOLD_S, left_s))
                reply = await connection.call(method, request, timeout_s=max(0.001, left_s))
            except errors.ChowkError as error:
                now_s = self._clock.now()
                if connection is not None:
                    self._judge(connection, request, error, now_s - tried_at_s)
                pause_s = delay_s * self._rng.uniform(0.5, 1.0)
                if connection is None:
                    failing_since_s = tried_at_s if failing_since_s is None else failing_since_s
                elif isinstance(error, errors.NoLeader):  # the server has held it back already, in vain
                    since_s = max(tried_at_s, now_s - RPC_HOLD_S)
                    failing_since_s = since_s if failing_since_s is None else min(failing_since_s, since_s)
                elif failing_since_s is None or now_s - tried_at_s > RPC_HOLD_S:
                    # It worked until now. Where the connection was lost, `wait` is pause enough.
                    failing_since_s = now_s
                    pause_s = 0.0 if connection.closed else pause_s
                if isinstance(error, errors.DeadlineExceeded) and trouble is not None:
                    if isinstance(trouble, errors.NoLeader) and _reads(method):
                        raise errors.NoLeader from error
                    raise errors.DeadlineExceeded(f"{error}; before that: {trouble}") from error
                trouble = error
                held_s, spent_s = now_s - failing_since_s + pause_s, now_s - started + pause_s
                ask_another = isinstance(error, errors.NoLeader) and self._link.has_choice
                if not _again(error, method, request) or spent_s >= timeout_s:
                    raise
                if held_s >= RPC_HOLD_S - HELD_SLACK_S and not ask_another:
                    raise
            else:
                self._judge(connection, request, None, 0.0)
                return reply
            await self._clock.sleep(pause_s)
            delay_s = min(delay_s * 2, RETRY_MAX_S)

    async def stream(self, method: Method[Q, A], request: Q, *, timeout_s: float) -> AsyncGenerator[A, None]:
        """The parts of an answer that comes in parts, each within `timeout_s` of asking for it; close the iterator to end.
        Tried again as a call is, until the first part came; ChowkErrors after that mean that the answer is not whole.
        """
        started, delay_s, begun = self._clock.now(), RETRY_FIRST_S, False
        while True:
            try:
                connection = await self._link.wait(RPC_HOLD_S)
                async with aclosing(connection.stream(method, request)) as parts:  # type: ignore[type-var]
                    while (part := await _next(parts, timeout_s)) is not None:
                        begun = True
                        yield part
                return
            except errors.ChowkError as error:
                pause_s = delay_s * self._rng.uniform(0.5, 1.0)
                spent_s = self._clock.now() - started + pause_s
                if begun or not _again(error, method, request) or spent_s >= min(RPC_HOLD_S, timeout_s):
                    raise
            await self._clock.sleep(pause_s)
            delay_s = min(delay_s * 2, RETRY_MAX_S)

    async def subscribe(self, topic: Topic) -> AsyncIterator[StreamFrame]:
        """Frames of a topic for ever, across lost connections: resumed by index, or started anew with a `reset`. Ends only
        when the iterator is closed, or with a ChowkError that trying again cannot mend (InvalidRequest, PermissionDenied).
        """
        index, history, complete, stale, delay_s = 0, "", False, True, RETRY_FIRST_S
        while True:
            try:
                connection = await self._link.wait(None)
                request = SubscribeRequest(topic=topic, index=index if complete else 0, history=history, stale=stale)
                async with aclosing(connection.stream(SUBSCRIBE, request)) as frames:  # type: ignore[type-var]
                    async for frame in frames:
                        if frame.reset:
                            complete = False
                        complete = complete or frame.snapshot_done
                        stale = stale and not complete
                        index, history, delay_s = frame.index, frame.history, RETRY_FIRST_S
                        yield frame
            except (errors.InvalidRequest, errors.PermissionDenied):
                raise
            except errors.ChowkError as error:
                log.debug("subscription interrupted", topic=topic, error=str(error))
            await self._clock.sleep(delay_s * self._rng.uniform(0.5, 1.0))
            delay_s = min(delay_s * 2, DIAL_RETRY_MAX_S)

    def _judge(
        self, connection: RpcConnection, request: object, error: errors.ChowkError | None, took_s: float
    ) -> None:
        """A server that for TROUBLE_S could do nothing that needs a leader is left for another, which may know one."""
        if connection is not self._link.connection:
            return
        if error is None:
            if _needs_leader(request):
                self._troubled_at_s = None
        elif isinstance(error, (errors.NoLeader, errors.Unavailable)) and not connection.closed:
            now_s = self._clock.now()
            if self._troubled_at_s is None:
                held_s = min(took_s, RPC_HOLD_S) if isinstance(error, errors.NoLeader) else 0.0
                self._troubled_at_s = now_s - held_s
            if now_s - self._troubled_at_s >= TROUBLE_S:
                self._troubled_at_s = now_s
                self._link.leave()

    def _connected(self) -> None:
        self._troubled_at_s = None
        for callback in list(self._callbacks):
            asyncio.get_running_loop().call_soon(callback)


async def _next(parts: AsyncIterator[A], timeout_s: float) -> A | None:
    """The next part, None at the end. DeadlineExceeded when it takes longer."""
    try:
        async with asyncio.timeout(timeout_s):
            return await anext(parts)
    except StopAsyncIteration:
        return None
    except TimeoutError:
        raise errors.DeadlineExceeded(f"the next part did not come in {timeout_s:g}s") from None


def _needs_leader(request: object) -> bool:
    """Whether an answer proves that the server has a leader."""
    options = getattr(request, "options", None)
    return isinstance(request, Write) or (isinstance(options, QueryOptions) and options.consistency != STALE)


def _again(error: errors.ChowkError, method: Method[Q, A], request: object) -> bool:
    """May this call be made again? What was not done may; what perhaps was done may when it applies once (a Write) or
    changes nothing (what asks for no more than to read).
    """
    if isinstance(error, (errors.NoLeader, errors.Unavailable)):
        return True
    return isinstance(error, errors.OutcomeUnknown) and (_reads(method) or isinstance(request, Write))


def _reads(method: Method[Q, A]) -> bool:
    """Whether it asks for no more than to read."""
    return method.permission == "" or method.permission.endswith(":read")
