"""Calls for the leader: sent there once, tried again when that is safe, and never sent on by who got them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chowk.core import codec
from chowk.core.commands import Register
from chowk.core.errors import ChowkError, InvalidRequest, NoLeader, OutcomeUnknown, Unavailable
from chowk.core.peer_requests import FORWARD, Forwarded
from chowk.core.records.node import Node
from chowk.core.requests import CA_SIGN, CATALOG_WRITE, SignRequest, Write, WriteReply
from chowk.core.runtime.clock import SystemClock
from chowk.core.runtime.rpc.listener import RpcListener, dial_unix
from chowk.server.rpc.forward import Forwarder
from chowk.server.rpc.gate import Gate
from chowk.server.rpc.servers import OtherServers
from support.consensus import SoloConsensus
from support.everybody import Everybody

WRITE = Write(command=Register(node=Node(node="n", address="127.0.0.1")), client="c", sequence=1)


class Told(SoloConsensus):
    """Whoever it is told leads, leads."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.who = ""

    @property
    def leader(self) -> str:
        return self.who


class Member:
    """One server with a Forwarder behind a Unix socket; its address is the socket's path."""

    def __init__(self, path: Path, hold_s: float) -> None:
        self.address = str(path)
        self.consensus = Told()
        self.dialled: list[str] = []
        self.handled: list[Any] = []
        self.answers: list[Any] = []
        gate = Gate(Everybody())
        self.servers = OtherServers(self.dial)
        self.forward = Forwarder(
            self.consensus, self.servers, gate, self.address, hold_s, SystemClock(), random.Random(1)
        )
        self.forward.serve(CATALOG_WRITE, self.handle)
        self.forward.serve(CA_SIGN, self.handle)
        self.listener = RpcListener(path, gate.endpoints)

    async def dial(self, address: str) -> Any:
        self.dialled.append(address)
        return await dial_unix(Path(address))

    async def handle(self, request: Any) -> Any:
        self.handled.append(request)
        answer = self.answers.pop(0) if self.answers else WriteReply(index=7)
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def members(folder: Path, hold_s: float = 5.0) -> AsyncIterator[list[Member]]:
    found = [Member(folder / f"{number}.sock", hold_s) for number in range(3)]
    for member in found:
        await member.listener.start()
    try:
        yield found
    finally:
        for member in found:
            await member.forward.close()
            await member.servers.close()
            await member.listener.close()


def lead(found: list[Member], leader: Member | None) -> None:
    for member in found:
        member.consensus.leading = member is leader
        member.consensus.who = leader.address if leader is not None else ""


def test_a_write_at_a_follower_is_done_at_the_leader_over_one_connection(tmp_path: Path) -> None:
    async def scene() -> None:
        async with members(tmp_path) as (a, b, c):
            lead([a, b, c], b)
            replies = await asyncio.gather(*(a.forward.call(CATALOG_WRITE, WRITE) for _ in range(20)))
            assert {reply.index for reply in replies} == {7}
            assert (len(a.handled), len(b.handled), b.handled[0]) == (0, 20, WRITE)
            assert a.dialled == [b.address]

    asyncio.run(scene())


def test_a_forwarded_call_is_not_forwarded_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with members(tmp_path) as (a, b, c):
            lead([a, b, c], c)
            call = Forwarded(method=CATALOG_WRITE.name, body=codec.pack(WRITE))
            with pytest.raises(NoLeader):
                await a.servers.call(b.address, FORWARD, call, timeout_s=2)
            assert (b.dialled, c.handled) == ([], [])
            for bad in (Forwarded(method="Catalog.Nodes", body=b""), Forwarded(method=CA_SIGN.name, body=b"\xff")):
                with pytest.raises(InvalidRequest):
                    await a.servers.call(c.address, FORWARD, bad, timeout_s=2)

    asyncio.run(scene())


def test_a_change_of_leaders_is_waited_for(tmp_path: Path) -> None:
    async def scene() -> None:
        async with members(tmp_path) as (a, b, c):
            call = asyncio.ensure_future(a.forward.call(CATALOG_WRITE, WRITE))
            await asyncio.sleep(0)
            lead([a, b, c], b)
            b.consensus.leading = False  # it won, but has not committed in its term yet: it says NoLeader
            while not a.dialled:
                await asyncio.sleep(0.01)
            b.consensus.leading = True
            assert (await call).index == 7

    asyncio.run(scene())


def test_without_a_leader_it_says_so_when_the_hold_is_over(tmp_path: Path) -> None:
    async def scene() -> None:
        async with members(tmp_path, hold_s=0.2) as (a, _b, _c):
            with pytest.raises(NoLeader, match="No cluster leader"):
                await a.forward.call(CATALOG_WRITE, WRITE)

    asyncio.run(scene())


def test_a_write_whose_outcome_is_unknown_is_sent_again_as_it_was(tmp_path: Path) -> None:
    async def scene() -> None:
        async with members(tmp_path) as (a, b, c):
            lead([a, b, c], b)
            b.answers = [OutcomeUnknown("leadership was lost"), Unavailable("x"), NoLeader(), WriteReply(index=9)]
            assert (await a.forward.call(CATALOG_WRITE, WRITE)).index == 9
            assert b.handled == [WRITE] * 4

    asyncio.run(scene())


def test_a_signature_is_not_asked_for_twice_when_it_may_have_been_given(tmp_path: Path) -> None:
    async def scene() -> None:
        async with members(tmp_path) as (a, b, c):
            lead([a, b, c], b)
            b.answers = [Unavailable("no certificate authority yet"), OutcomeUnknown("lost")]
            with pytest.raises(OutcomeUnknown):
                await a.forward.call(CA_SIGN, SignRequest(service="web", csr_pem="x"))
            assert len(b.handled) == 2

    asyncio.run(scene())


@pytest.mark.parametrize("error", [InvalidRequest("no"), ChowkError("bug")])
def test_a_refusal_of_the_leader_reaches_the_caller_at_once(tmp_path: Path, error: ChowkError) -> None:
    async def scene() -> None:
        async with members(tmp_path) as (a, b, c):
            lead([a, b, c], b)
            b.answers = [error]
            with pytest.raises(ChowkError, match=str(error)):
                await a.forward.call(CATALOG_WRITE, WRITE)
            assert len(b.handled) == 1

    asyncio.run(scene())


def test_a_write_that_waits_for_a_frozen_leader_goes_to_the_next_one(tmp_path: Path) -> None:
    async def scene() -> None:
        async with members(tmp_path) as (a, b, c):
            lead([a, b, c], b)
            b.answers = [asyncio.Event()]
            call = asyncio.ensure_future(a.forward.call(CATALOG_WRITE, WRITE))
            while not b.handled:
                await asyncio.sleep(0.01)
            lead([a, b, c], c)
            assert (await asyncio.wait_for(call, 3)).index == 7
            assert c.handled == [WRITE]

    asyncio.run(scene())


def test_the_end_of_the_callers_deadline_ends_the_call_at_the_leader(tmp_path: Path) -> None:
    async def scene() -> None:
        async with members(tmp_path) as (a, b, c):
            lead([a, b, c], b)
            ended = asyncio.Event()

            async def handle(_request: Any) -> Any:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.set()

            b.forward.serve(CATALOG_WRITE, handle)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await a.forward.call(CATALOG_WRITE, WRITE)
            await asyncio.wait_for(ended.wait(), 2)

    asyncio.run(scene())


def test_a_dead_leaders_connection_is_made_anew_when_it_is_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with members(tmp_path) as (a, b, c):
            lead([a, b, c], b)
            await a.forward.call(CATALOG_WRITE, WRITE)
            await b.listener.close()
            call = asyncio.ensure_future(a.forward.call(CATALOG_WRITE, WRITE))
            while len(a.dialled) < 2:
                await asyncio.sleep(0.01)
            await b.listener.start()
            assert (await call).index == 7

    asyncio.run(scene())
