"""Calls that only the leader can answer, wherever they arrive: done here while this server leads, else sent to the leader.

A forwarded call is never forwarded again: who gets one and does not lead says NoLeader. A change of leaders is waited for,
up to the hold (`rpc_hold_timeout`) or the caller's deadline, whose end cancels the call here and so the one at the leader.
Tried again is what surely was not done (NoLeader, Unavailable), and what perhaps was done only when it applies once: a
`Write`, by its client and sequence, and what is said to be repeatable. Endpoint modules offer it by `Forwarder.serve`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

from chowk.core import codec
from chowk.core.errors import (
    ChowkError,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    NoLeader,
    OutcomeUnknown,
    Unavailable,
)  # fmt: skip
from chowk.core.peer_requests import FORWARD, Forwarded, ForwardedReply
from chowk.core.requests import Method, Write
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner
from chowk.server.port import Consensus
from chowk.server.rpc.gate import Gate
from chowk.server.rpc.servers import OtherServers

Q = TypeVar("Q")
A = TypeVar("A")
Handler = Callable[[Any], Awaitable[Any]]

CALL_TIMEOUT_S: Final = 10.0
RETRY_S_FIRST: Final = 0.02
RETRY_S_MAX: Final = 0.25
WATCH_S: Final = 0.05
REPLACED_S: Final = 0.3
"""This long after another server leads, calls that still wait for the one before are given up: it may be frozen."""
HERE: Final = "here"


class Forwarder:
    """`own_address` is this server's as Raft knows it; `hold_s` is how long a call waits for a leader."""

    def __init__(
        self,
        consensus: Consensus,
        servers: OtherServers,
        gate: Gate,
        own_address: str,
        hold_s: float,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._consensus = consensus
        self._servers = servers
        self._gate = gate
        self._own_address = own_address
        self._hold_s = hold_s
        self._clock = clock
        self._rng = rng
        self._repeatable: set[str] = set()
        self._handlers: dict[str, tuple[Method[Any, Any], Handler]] = {}
        self._tasks = TaskOwner("forward")
        self._in_flight: dict[str, int] = {}
        self._leader_known: asyncio.Future[None] | None = None
        self._watching = False
        gate.serve(FORWARD, self._forwarded)

    def serve(self, method: Method[Q, A], handler: Callable[[Q], Awaitable[A]], *, is_repeatable: bool = False) -> None:
        """Answer `method` with `handler`, which is only called where this server leads. `is_repeatable`: done twice is
        as done once, so that it may be tried again when nobody knows whether it was done (as every Write may)."""
        self._handlers[method.name] = (method, handler)
        if is_repeatable or method.request is Write:
            self._repeatable.add(method.name)
        self._gate.serve(method, partial(self.call, method))

    async def close(self) -> None:
        """End what waits."""
        await self._tasks.close()

    async def call(self, method: Method[Q, A], request: Q) -> A:
        """Have the leader do it. NoLeader when there is none for as long as a call is held."""
        _method, handler = self._handlers[method.name]
        deadline = self._clock.now() + self._hold_s
        pause_s = RETRY_S_FIRST
        while True:
            leader = self._leader()
            try:
                if leader == HERE:
                    reply: A = await handler(request)
                    return reply
                if leader:
                    return await self._forward(leader, method, request)
            except ChowkError as error:
                if not self._again(error, method.name) or self._clock.now() + pause_s >= deadline:
                    raise
                await self._clock.sleep(pause_s * self._rng.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, RETRY_S_MAX)
            else:
                await self._wait_leader(deadline - self._clock.now())

    def _again(self, error: ChowkError, method: str) -> bool:
        if isinstance(error, NoLeader | Unavailable):
            return True
        return isinstance(error, OutcomeUnknown) and method in self._repeatable

    def _leader(self) -> str:
        """HERE, the leader's address, or "" when nobody is known to lead (yet)."""
        if self._consensus.is_leader:
            return HERE
        leader = self._consensus.leader
        return leader if leader != self._own_address else ""

    async def _forward(self, address: str, method: Method[Q, A], request: Q) -> A:
        self._in_flight[address] = self._in_flight.get(address, 0) + 1
        self._watch()
        try:
            forwarded = Forwarded(method=method.name, body=codec.pack(request))
            reply = await self._servers.call(address, FORWARD, forwarded, timeout_s=CALL_TIMEOUT_S)
        except DeadlineExceeded as error:
            raise OutcomeUnknown(f"the leader did not answer in {CALL_TIMEOUT_S:g} s") from error
        finally:
            self._in_flight[address] -= 1
            if not self._in_flight[address]:
                del self._in_flight[address]
        try:
            return codec.unpack(reply.body, method.reply)
        except ValueError as error:
            raise InternalError(f"the leader's answer to {method.name} cannot be read: {error}") from error

    async def _forwarded(self, call: Forwarded) -> ForwardedReply:
        method, handler = self._handlers.get(call.method, (None, None))
        if method is None or handler is None:
            raise InvalidRequest(f"{call.method} is no method that is forwarded")
        if not self._consensus.is_leader:
            raise NoLeader
        try:
            request = codec.unpack(call.body, method.request)
        except ValueError as error:
            raise InvalidRequest(f"not a request of {call.method}: {error}") from error
        return ForwardedReply(body=codec.pack(await handler(request)))

    async def _wait_leader(self, timeout_s: float) -> None:
        if timeout_s <= 0:
            raise NoLeader
        if self._leader_known is None:
            self._leader_known = asyncio.get_running_loop().create_future()
        self._watch()
        # Nobody's cancellation may end the one future that all wait for.
        done, _pending = await asyncio.wait([self._leader_known], timeout=timeout_s)
        if not done:
            raise NoLeader

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._tasks.spawn(self._keep_watching(), "watch")

    async def _keep_watching(self) -> None:
        """One look for all calls, while there are any: who leads now, and who is waited for in vain."""
        replaced_at: dict[str, float] = {}
        try:
            while self._leader_known is not None or self._in_flight:
                leader, now = self._leader(), self._clock.now()
                if leader and self._leader_known is not None:
                    self._leader_known.set_result(None)
                    self._leader_known = None
                for address in list(self._in_flight):
                    if leader in ("", address):
                        replaced_at.pop(address, None)
                    elif now - replaced_at.setdefault(address, now) >= REPLACED_S:
                        del replaced_at[address]
                        self._servers.drop(address)
                await self._clock.sleep(WATCH_S)
        finally:
            self._watching = False
