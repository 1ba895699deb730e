"""The connection to one other server that Raft's messages go out on: made again when it ends. Made by `transport`.

Nothing else is sent on it, so that no forwarded request stands before a heartbeat; snapshots have another.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Final

import msgspec
import structlog

from chowk.core.errors import ChowkError, Unavailable
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.server.peers.local import RUNS, Local
from chowk.server.peers.messages import RAFT_MESSAGES, RAFT_STATUS, Envelope, StatusRequest
from chowk.server.raft.records import Member

log = structlog.get_logger("chowk.peers")
DIAL_TIMEOUT_S: Final = 2.0
BACKOFF_S_FIRST: Final = 0.05
BACKOFF_S_MAX: Final = 1.0
QUEUE_BYTES_MAX: Final = 32 * 1024 * 1024
"""What may wait while the other server reads slowly; more is dropped."""
RETRY_S: Final = 0.005


class Link:
    """Send by `put` and `flush`; `run` is a task of the transport. `member` may be replaced: its address is dialled next."""

    def __init__(self, local: Local, member: Member, rng: random.Random) -> None:
        self.member = member
        self._local = local
        self._rng = rng
        self._connection: RpcConnection | None = None
        self._messages: list[msgspec.Raw] = []
        self._waiting: deque[Envelope] = deque()
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._told = ""

    def put(self, message: msgspec.Raw) -> None:
        """Send with the next flush; drop while there is no connection."""
        if self._connection is None:
            self._local.count("messages_dropped")
        else:
            self._messages.append(message)

    def flush(self) -> None:
        """All that was put goes out in one frame."""
        if self._messages:
            messages, self._messages = tuple(self._messages), []
            self._send(Envelope(origin=self._local.origin, voter=self.member.voter, messages=messages))

    def _send(self, envelope: Envelope) -> None:
        connection = self._connection
        if connection is None or connection.closed:
            self._local.count("messages_dropped", len(envelope.messages))
            return
        self._local.count("messages_sent", len(envelope.messages))
        if self._waiting or not connection.notify(RAFT_MESSAGES, envelope):
            self._wait(envelope)

    def _wait(self, envelope: Envelope) -> None:
        """The other server reads slowly: in order, a little later."""
        size = sum(len(bytes(message)) for message in envelope.messages)
        if self._waiting_bytes + size > QUEUE_BYTES_MAX:
            self._local.count("messages_dropped", len(envelope.messages))
            return
        self._waiting.append(envelope)
        self._waiting_bytes += size
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._timer = None
        connection = self._connection
        while self._waiting and connection is not None and connection.notify(RAFT_MESSAGES, self._waiting[0]):
            self._waiting.popleft()
        self._waiting_bytes = sum(len(bytes(message)) for waiting in self._waiting for message in waiting.messages)
        if self._waiting and connection is not None and not connection.closed:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._try_again)

    def moved(self, member: Member) -> None:
        """The configuration says something new of this server."""
        if member.address != self.member.address and self._connection is not None:
            self._connection.abort()
        self.member = member

    async def run(self) -> None:
        """Hold a connection, for ever."""
        backoff_s = BACKOFF_S_FIRST
        while True:
            try:
                connection = await self._connected()
            except ChowkError as error:
                self._tell(str(error))
                await self._local.clock.sleep(backoff_s * self._rng.uniform(0.5, 1.0))
                backoff_s = min(2 * backoff_s, BACKOFF_S_MAX)
                continue
            backoff_s = BACKOFF_S_FIRST
            self._connection = connection
            self._told = ""
            try:
                await connection.wait_closed()
            finally:
                self._lost()
                await connection.close()

    def _lost(self) -> None:
        self._connection = None
        self._messages.clear()
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _connected(self) -> RpcConnection:
        """A connection to the server that this link is for. Unavailable when another answers, or it will not listen."""
        local, member = self._local, self.member
        address = local.address_of(member)
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                connection = await local.dial(address)
        except TimeoutError as error:
            raise Unavailable(f"{address} does not answer") from error
        try:
            request = StatusRequest(origin=local.origin, target=member.id, runs=RUNS)
            reply = await connection.call(RAFT_STATUS, request, timeout_s=DIAL_TIMEOUT_S)
            if reply.refusal:
                raise Unavailable(f"{member.node or member.id} ({address}) says: {reply.refusal}")
            local.check_origin(reply.origin, connection.peer)
            if reply.origin.id != member.id:
                raise Unavailable(f"the server at {address} is {reply.origin.id}, not {member.id}")
            local.hear_release(member.id, reply.runs)
        except BaseException:
            await connection.close()
            raise
        return connection

    def _tell(self, reason: str) -> None:
        """Once a reason."""
        if reason != self._told:
            self._told = reason
            log.warning("no connection to a server", server=self.member.node or self.member.id, reason=reason)
