"""While this server is blank: look who is there, and found a cluster with them when all agree. Made by `peers`."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import structlog

from chowk.core.errors import ChowkError, PermissionDenied
from chowk.core.records.member import ALIVE
from chowk.core.records.member import Member as Gossiped
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.endpoints import Peer
from chowk.server.peers.founding import (
    ACCEPT,
    COMMIT,
    PREPARE,
    Commit,
    Forget,
    Propose,
    Seen,
    View,
    Wait,
    decide,
    value,
)  # fmt: skip
from chowk.server.peers.local import Local
from chowk.server.peers.messages import (
    RAFT_FOUND,
    RAFT_STATUS,
    FoundReply,
    FoundRequest,
    StatusReply,
    StatusRequest,
)  # fmt: skip
from chowk.server.peers.promises import Promises
from chowk.server.raft.records import Configuration, Member

log = structlog.get_logger("chowk.peers")
LOOK_S: Final = 0.3
TELL_S: Final = 30.0
CALL_TIMEOUT_S: Final = 3.0
SERVERS_MAX: Final = 64
"""Servers that are asked; more in a datacenter is a mistake."""


class Formation:
    """`run` ends when this server is blank no more. `found` is the handler of Raft.Bootstrap."""

    def __init__(self, local: Local, promises: Promises, rng: random.Random) -> None:
        self._local = local
        self._promises = promises
        self._rng = rng
        self._connections: dict[str, RpcConnection] = {}
        self._told = ""
        self._told_s = float("-inf")

    async def found(self, request: FoundRequest, peer: Peer) -> FoundReply:
        """A step that another server proposes."""
        self._local.check_origin(request.origin, peer)
        if not self._local.engine.has_begun:
            raise PermissionDenied("this server has not started")
        return await self._promises.answer(request)

    async def run(self) -> None:
        """Look, decide, act; again until this server is part of a cluster."""
        engine = self._local.engine
        try:
            while engine.is_blank and engine.failure is None:
                await self._step()
                await self._local.clock.sleep(LOOK_S * self._rng.uniform(0.8, 1.2))
        finally:
            for connection in self._connections.values():
                await connection.close()

    async def _step(self) -> None:
        local = self._local
        others = await self._look()
        if not local.engine.is_blank:
            return
        view = View(me=local.member, expect=local.expect, promise=self._promises.current, others=others)
        decision = decide(view)
        match decision:
            case Wait():
                self._tell(decision)
            case Commit():
                await self._promises.found(decision.configuration)
            case Forget():
                await self._promises.forget()
            case Propose():
                await self._propose(decision)

    def _tell(self, wait: Wait) -> None:
        """At once when it is something new, and every half minute."""
        now = self._local.clock.now()
        if wait.reason != self._told or now - self._told_s >= TELL_S:
            self._told, self._told_s = wait.reason, now
            (log.error if wait.wrong else log.info)("this server is in no cluster yet", reason=wait.reason)

    async def _look(self) -> tuple[Seen, ...]:
        """The other servers that gossip says are alive, each with what it says of itself."""
        members = sorted(
            (
                member
                for member in self._local.network.members()
                if member.status == ALIVE and member.rpc_address and member.id not in ("", self._local.member.id)
            ),
            key=lambda member: member.id,
        )[:SERVERS_MAX]
        statuses = await asyncio.gather(*(self._status(member.rpc_address) for member in members))
        return tuple(_seen(member, status) for member, status in zip(members, statuses, strict=True))

    async def _status(self, address: str) -> StatusReply | None:
        try:
            connection = await self._connection(address)
            request = StatusRequest(origin=self._local.origin)
            return await connection.call(RAFT_STATUS, request, timeout_s=CALL_TIMEOUT_S)
        except (ChowkError, TimeoutError) as error:
            log.debug("a server does not say what it is", address=address, reason=str(error))
            return None

    async def _connection(self, address: str) -> RpcConnection:
        known = self._connections.get(address)
        if known is not None and not known.closed:
            return known
        async with asyncio.timeout(CALL_TIMEOUT_S):
            self._connections[address] = connection = await self._local.dial(address)
        return connection

    async def _propose(self, proposal: Propose) -> None:
        """Both rounds, and the end. Whatever fails: the next look begins with another ballot."""
        mine = Configuration(proposal.members, f"{self._rng.getrandbits(128):032x}")
        try:
            me = tuple(member for member in proposal.members if member.id == self._local.member.id)
            others = tuple(member for member in proposal.members if member.id != self._local.member.id)
            prepared = await self._ask_all(me, PREPARE, proposal, Configuration())
            prepared += await self._ask_all(others, PREPARE, proposal, Configuration())
            chosen = value(prepared, mine)
            await self._ask_all(chosen.members, ACCEPT, proposal, chosen)
        except (ChowkError, TimeoutError) as error:
            self._tell(Wait(f"the cluster could not be founded: {error}"))
            return
        await self._promises.found(chosen)
        others = tuple(member for member in chosen.members if member.id != self._local.member.id)
        try:
            await self._ask_all(others, COMMIT, proposal, chosen)
        except (ChowkError, TimeoutError) as error:
            log.info("a server does not know yet that the cluster is founded; it will hear", reason=str(error))

    async def _ask_all(
        self, members: tuple[Member, ...], step: str, proposal: Propose, configuration: Configuration
    ) -> list[FoundReply]:
        """Every one's agreement. PermissionDenied when one refuses, another ChowkError when one does not answer."""
        request = FoundRequest(
            origin=self._local.origin,
            step=step,
            ballot=proposal.ballot,
            expect=self._local.expect,
            configuration=configuration,
        )
        replies = await asyncio.gather(*(self._ask(member, request) for member in members))
        refused = [
            f"{member.node}: {reply.refusal}" for member, reply in zip(members, replies, strict=True) if not reply.ok
        ]
        if refused:
            raise PermissionDenied("; ".join(refused))
        return replies

    async def _ask(self, member: Member, request: FoundRequest) -> FoundReply:
        if member.id == self._local.member.id:
            return await self._promises.answer(request)
        connection = await self._connection(member.address)
        return await connection.call(RAFT_FOUND, request, timeout_s=CALL_TIMEOUT_S)


def _seen(member: Gossiped, status: StatusReply | None) -> Seen:
    """A server's own word counts where it has one."""
    tagged = member.tags.get("expect", "")
    expect = status.expect if status is not None else int(tagged) if tagged.isascii() and tagged.isdigit() else 0
    address = status.origin.address if status is not None else member.rpc_address
    return Seen(id=member.id, node=member.name, address=address, expect=expect, status=status)
