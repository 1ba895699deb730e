"""Sessions that nobody renews end, those that somebody renews do not, and a new leader begins to count anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chowk.core.commands import CreateSession, DestroySession, PutKey, Register
from chowk.core.errors import InvalidRequest, NotFound
from chowk.core.kv_requests import KV_WRITE, SESSION_RENEW, SESSION_WRITE
from chowk.core.records.node import Node
from chowk.core.records.session import Session
from chowk.core.requests import CATALOG_WRITE, Read
from chowk.core.runtime.clock import ManualClock
from support.server_rig import Rig, running_server

ID = "11111111-1111-1111-1111-111111111111"
TTL_S = 10.0
END_S = 2 * TTL_S + 1


def run(path: Path, scene: Callable[[Rig, ManualClock], Awaitable[None]]) -> None:
    async def whole() -> None:
        clock = ManualClock()
        async with running_server(path, clock) as rig:
            await rig.write(CATALOG_WRITE, Register(node=Node(node="n1", address="127.0.0.1")))
            session = Session(id=ID, node="n1", ttl="10s", node_checks=(), lock_delay_s=0.0)
            await rig.write(SESSION_WRITE, CreateSession(session=session))
            await rig.write(KV_WRITE, PutKey(key=b"k", acquire=ID))
            await asyncio.wait_for(scene(rig, clock), 20)

    asyncio.run(whole())


def lives(rig: Rig) -> bool:
    return ID in rig.machine.store.session_table.records


async def renew(rig: Rig) -> None:
    reply = await rig.call(SESSION_RENEW, Read(name=ID))
    assert [session.id for session in reply.sessions] == [ID]


def test_a_session_lives_for_its_ttl_and_ends_by_twice_that_with_its_locks(tmp_path: Path) -> None:
    async def scene(rig: Rig, clock: ManualClock) -> None:
        await clock.advance(TTL_S)
        assert lives(rig)
        await clock.advance(END_S - TTL_S)
        assert not lives(rig)
        assert rig.machine.store.kv.entries[b"k"].session == ""
        with pytest.raises(NotFound, match=f"Session id '{ID}' not found"):
            await renew(rig)

    run(tmp_path, scene)


def test_a_session_that_is_renewed_does_not_end(tmp_path: Path) -> None:
    async def scene(rig: Rig, clock: ManualClock) -> None:
        for _time in range(5):
            await clock.advance(TTL_S)
            await renew(rig)
        assert rig.machine.store.kv.entries[b"k"].session == ID
        await clock.advance(END_S)
        assert not lives(rig)
        with pytest.raises(InvalidRequest):
            await rig.call(SESSION_RENEW, Read(name=""))

    run(tmp_path, scene)


def test_a_new_leader_gives_every_session_its_whole_ttl_again(tmp_path: Path) -> None:
    async def scene(rig: Rig, clock: ManualClock) -> None:
        await clock.advance(TTL_S)
        rig.consensus.lead(False)
        await clock.advance(10 * TTL_S)
        assert lives(rig), "who does not lead ends nobody's session"
        rig.consensus.lead(True)
        await clock.advance(2 * TTL_S - 1)
        assert lives(rig)
        await clock.advance(2)
        assert not lives(rig)

    run(tmp_path, scene)


def test_a_session_that_ended_otherwise_is_forgotten_and_one_without_ttl_lives_on(tmp_path: Path) -> None:
    async def scene(rig: Rig, clock: ManualClock) -> None:
        other = ID.replace("1", "2")
        await rig.write(SESSION_WRITE, CreateSession(session=Session(id=other, node="n1", node_checks=())))
        await rig.write(SESSION_WRITE, DestroySession(id=ID))
        index = rig.machine.store.index
        await clock.advance(10 * TTL_S)
        assert list(rig.machine.store.session_table.records) == [other]
        assert rig.machine.store.index == index, "nothing is written for who is gone"

    run(tmp_path, scene)
