"""The loop of a watch: it waits after failures, and asks nothing while its news is handled."""

from __future__ import annotations

import asyncio
import contextlib

from chowk.agent.config.model import WatchDefinition
from chowk.agent.watches.changes import changes
from chowk.agent.watches.plan import Answer, Ask, Change, WatchFailed, WatchPlan
from chowk.core.runtime.clock import ManualClock

SERVICES = WatchDefinition(type="services")


class Registry:
    """Answers like a blocking endpoint; `change` makes news."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.index = 1
        self.down = False
        self._more = asyncio.Event()

    def change(self) -> None:
        self.index += 1
        self._more.set()

    async def fetch(self, ask: Ask) -> Answer:
        self.asked.append(ask)
        if self.down:
            raise WatchFailed("nobody there")
        while ask.query.get("index") == str(self.index):
            self._more.clear()
            await self._more.wait()
        return Answer(200, self.index, "", b'{"n": [%d]}' % self.index)


@contextlib.asynccontextmanager
async def following(registry: Registry, clock: ManualClock, told: list[float], gate: asyncio.Event | None = None):
    heard: list[Change] = []

    async def follow() -> None:
        watch = changes(WatchPlan(SERVICES), registry.fetch, clock, lambda _failure, wait_s: told.append(wait_s))
        async for change in watch:
            heard.append(change)
            if gate is not None:
                await gate.wait()

    task = asyncio.create_task(follow())
    await clock.advance(0)
    try:
        yield heard
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_each_change_is_told_once() -> None:
    async def body() -> None:
        registry, clock = Registry(), ManualClock()
        async with following(registry, clock, []) as heard:
            registry.change()
            await clock.advance(0)
            assert [change.index for change in heard] == [1, 2]
            assert len(registry.asked) == 3, "the last question blocks"

    asyncio.run(body())


def test_an_agent_that_is_gone_is_asked_again_with_backoff_and_then_goes_on() -> None:
    async def body() -> None:
        registry, clock, told = Registry(), ManualClock(), list[float]()
        registry.down = True
        async with following(registry, clock, told) as heard:
            await clock.advance(6)
            assert told == [1, 4, 9]
            registry.down = False
            await clock.advance(8.5)
            assert [change.index for change in heard] == [1]

    asyncio.run(body())


def test_what_changes_while_the_handler_runs_is_one_more_change_after_it() -> None:
    async def body() -> None:
        registry, clock, gate = Registry(), ManualClock(), asyncio.Event()
        async with following(registry, clock, [], gate) as heard:
            for _ in range(5):
                registry.change()
                await clock.advance(0)
            assert len(registry.asked) == 1
            gate.set()
            await clock.advance(0)
            assert [change.index for change in heard] == [1, 6]

    asyncio.run(body())


def test_an_endpoint_that_does_not_block_is_not_asked_in_a_loop() -> None:
    async def body() -> None:
        clock, asked = ManualClock(), list[Ask]()

        async def fetch(ask: Ask) -> Answer:
            asked.append(ask)
            return Answer(200, 1, "", b"{}")

        registry = Registry()
        registry.fetch = fetch  # type: ignore[method-assign]
        async with following(registry, clock, []):
            await clock.advance(1)
            assert len(asked) <= 12

    asyncio.run(body())
