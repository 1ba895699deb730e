"""Shared reads: made once for many, never older than the question, and gone when nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import msgspec
import pytest

from chowk.agent.api.shared_reads import ANSWERS_A_TURN, SharedReads
from chowk.core.errors import NoLeader
from chowk.core.requests import STALE, QueryMeta, QueryOptions

NOW = QueryOptions()
BLOCKING = QueryOptions(min_index=5, max_wait_s=30)


class Reply(msgspec.Struct, frozen=True):
    meta: QueryMeta
    value: int = 0


def reply(index: int, value: int = 0) -> Reply:
    return Reply(QueryMeta(index=index), value)


class Servers:
    """Calls that tests answer by hand."""

    def __init__(self) -> None:
        self.calls: list[tuple[QueryOptions, asyncio.Future[Reply]]] = []

    async def fetch(self, options: QueryOptions, _timeout_s: float) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.calls.append((options, future))
        return await future

    def answer(self, number: int, value: Reply | Exception) -> None:
        future = self.calls[number][1]
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)


def run(scene: Callable[[SharedReads, Servers], Awaitable[None]]) -> None:
    async def body() -> None:
        shared, servers = SharedReads(Random(1)), Servers()
        await asyncio.wait_for(scene(shared, servers), 10)
        assert len(shared) == 0
        await shared.close()

    asyncio.run(body())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_read_is_joined_before_it_is_sent_and_not_after() -> None:
    async def scene(shared: SharedReads, servers: Servers) -> None:
        first = [shared.ask("web", NOW, servers.fetch) for _ in range(3)]
        await turns()
        later = [shared.ask("web", NOW, servers.fetch) for _ in range(3)]
        other = shared.ask("db", NOW, servers.fetch)
        await turns()
        assert len(servers.calls) == 2
        servers.answer(0, reply(5, 1))
        assert [(await each).value for each in first] == [1, 1, 1]
        await turns()
        assert not any(each.done() for each in later)
        servers.answer(2, reply(5, 2))
        assert [(await each).value for each in later] == [2, 2, 2]
        servers.answer(1, reply(5, 3))
        assert (await other).value == 3
        await turns()

    run(scene)


def test_a_read_that_hangs_does_not_keep_those_that_come_later() -> None:
    async def scene(shared: SharedReads, servers: Servers) -> None:
        hanging = shared.ask("web", NOW, servers.fetch)
        await turns()
        await asyncio.sleep(0.06)
        later = shared.ask("web", NOW, servers.fetch)
        await turns()
        servers.answer(1, reply(5, 2))
        assert (await later).value == 2
        servers.answer(0, NoLeader())
        with pytest.raises(NoLeader):
            await hanging
        await turns()

    run(scene)


def test_blocking_queries_share_one_call_and_who_came_after_it_was_sent_reads_again() -> None:
    async def scene(shared: SharedReads, servers: Servers) -> None:
        early = [shared.ask("web", BLOCKING, servers.fetch) for _ in range(2)]
        await turns()
        late = [shared.ask("web", msgspec.structs.replace(BLOCKING, max_wait_s=20), servers.fetch) for _ in range(2)]
        await turns()
        assert len(servers.calls) == 1
        servers.answer(0, reply(6, 1))
        assert [(await each).value for each in early] == [1, 1]
        await turns()
        assert [options.min_index for options, _ in servers.calls] == [5, 0]
        assert not any(each.done() for each in late)
        servers.answer(1, reply(7, 2))
        assert [(await each).value for each in late] == [2, 2]
        await turns()

    run(scene)


def test_a_stale_blocking_query_takes_what_came() -> None:
    async def scene(shared: SharedReads, servers: Servers) -> None:
        options = msgspec.structs.replace(BLOCKING, consistency=STALE)
        early = shared.ask("web", options, servers.fetch)
        await turns()
        late = shared.ask("web", options, servers.fetch)
        servers.answer(0, reply(6, 1))
        assert ((await early).value, (await late).value) == (1, 1)
        await turns()
        assert len(servers.calls) == 1

    run(scene)


def test_who_waits_no_longer_gets_what_is_there_and_the_others_wait_on() -> None:
    async def scene(shared: SharedReads, servers: Servers) -> None:
        patient = shared.ask("web", BLOCKING, servers.fetch)
        hasty = shared.ask("web", msgspec.structs.replace(BLOCKING, max_wait_s=0.01), servers.fetch)
        while len(servers.calls) < 2:
            await asyncio.sleep(0.005)
        assert servers.calls[1][0].min_index == 0
        servers.answer(1, reply(5, 1))
        assert (await hasty).value == 1
        assert not patient.done()
        servers.answer(0, reply(5))  # the servers' own limit ended the call: nothing new
        await turns()
        assert len(servers.calls) == 3
        servers.answer(2, reply(9, 2))
        assert (await patient).value == 2
        await turns()

    run(scene)


def test_the_call_ends_with_its_last_waiter_and_who_comes_then_gets_another() -> None:
    async def scene(shared: SharedReads, servers: Servers) -> None:
        waiting = [shared.ask("web", BLOCKING, servers.fetch) for _ in range(2)]
        await turns()
        waiting[0].cancel()
        await turns()
        assert not servers.calls[0][1].cancelled()
        waiting[1].cancel()
        await asyncio.sleep(0)
        again = shared.ask("web", BLOCKING, servers.fetch)
        await turns()
        assert servers.calls[0][1].cancelled()
        servers.answer(1, reply(6, 4))
        assert (await again).value == 4
        await turns()

    run(scene)


def test_an_error_is_everyones_and_an_index_that_went_back_is_told() -> None:
    async def scene(shared: SharedReads, servers: Servers) -> None:
        waiting = [shared.ask("web", BLOCKING, servers.fetch) for _ in range(2)]
        await turns()
        servers.answer(0, NoLeader())
        for each in waiting:
            with pytest.raises(NoLeader):
                await each
        back = shared.ask("web", BLOCKING, servers.fetch)
        await turns()
        servers.answer(1, reply(2))
        assert (await back).meta.index == 2
        await turns()

    run(scene)


def test_many_are_answered_in_turns() -> None:
    async def scene(shared: SharedReads, servers: Servers) -> None:
        count = ANSWERS_A_TURN * 3
        waiting = [shared.ask("web", BLOCKING, servers.fetch) for _ in range(count)]
        await turns()
        servers.answer(0, reply(6))
        done, steps = 0, []
        while done < count:
            await asyncio.sleep(0)
            steps.append(sum(each.done() for each in waiting) - done)
            done += steps[-1]
        assert max(steps) == ANSWERS_A_TURN
        await turns()

    run(scene)
