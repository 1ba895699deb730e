"""Coordinates are written together, the latest of each node, seldom; and nothing that is none."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chowk.core.commands import Register
from chowk.core.coordinate_requests import CoordinateUpdate
from chowk.core.errors import InvalidRequest, TooManyRequests
from chowk.core.records.coordinate import Coordinate, NodeCoordinate
from chowk.core.records.node import Node
from chowk.core.runtime.clock import ManualClock
from chowk.server.leader.coordinates import BATCH_MAX, GATHERED_MAX, PERIOD_S, CoordinateUpdates
from chowk.server.leader.duties import LeaderDuties
from chowk.server.port import PeerRelease
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine
from support.consensus import SoloConsensus


class Context:
    """What the duty asks of the server's endpoints."""

    def __init__(self) -> None:
        self.reads = self.leader = self
        self.update: Callable[[CoordinateUpdate], Awaitable[Any]]

    def check_datacenter(self, _datacenter: str) -> None:
        """Any."""

    def serve(self, _method: Any, handler: Any, *, is_repeatable: bool) -> None:
        assert is_repeatable
        self.update = handler


class Scene:
    def __init__(self) -> None:
        self.machine = StoreMachine()
        self.consensus = SoloConsensus(self.machine)
        self.clock = ManualClock()
        self.writes = Writes(self.consensus, self.clock)
        duty = CoordinateUpdates(self.machine, self.writes, self.clock)
        self.context = Context()
        duty.serve(self.context)  # type: ignore[arg-type]
        self.duties = LeaderDuties(self.clock)
        self.duties.add(duty)
        self.consensus.on_leadership(self.duties.led)

    async def say(self, node: str, seconds: float = 0.01, **more: Any) -> None:
        coord = Coordinate(**{"vec": (seconds,) * 8, **more})
        await self.context.update(CoordinateUpdate(coordinate=NodeCoordinate(node=node, coord=coord)))

    def known(self) -> dict[str, float]:
        return {key: each.coord.vec[0] for key, each in self.machine.store.coordinates.items()}


@asynccontextmanager
async def leading(*nodes: str) -> AsyncIterator[Scene]:
    scene = Scene()
    await scene.consensus.start()
    for node in nodes:
        await scene.writes.propose(Register(node=Node(node=node, address="127.0.0.1")))
    try:
        yield scene
    finally:
        await scene.duties.close()


def test_the_first_news_are_written_at_once_and_later_ones_together_each_nodes_latest() -> None:
    async def body() -> None:
        async with leading("a", "b") as scene:
            await scene.say("a", 0.1)
            await scene.clock.advance(0.1)
            assert scene.known() == {"a": 0.1}
            index = scene.consensus.applied_index
            for number in range(50):
                await scene.say("a", number / 1000)
                await scene.say("B", number / 1000)
            await scene.clock.advance(PERIOD_S / 2)
            assert scene.consensus.applied_index == index
            await scene.clock.advance(PERIOD_S)
            assert scene.known() == {"a": 0.049, "b": 0.049}
            assert scene.consensus.applied_index == index + 1

    asyncio.run(body())


def test_what_is_known_already_is_not_written_again() -> None:
    async def body() -> None:
        async with leading("a") as scene:
            await scene.say("a", 0.1)
            await scene.clock.advance(PERIOD_S)
            index = scene.consensus.applied_index
            await scene.say("A", 0.1)
            await scene.clock.advance(2 * PERIOD_S)
            assert scene.consensus.applied_index == index
            for seconds in (0.2, 0.1):
                await scene.say("a", seconds)
            await scene.clock.advance(2 * PERIOD_S)
            assert scene.known() == {"a": 0.1}

    asyncio.run(body())


def test_many_nodes_are_written_in_entries_of_a_bounded_size_and_beyond_a_limit_refused() -> None:
    async def body() -> None:
        async with leading() as scene:
            before = scene.consensus.applied_index
            for number in range(GATHERED_MAX):
                await scene.say(f"n{number}")
            with pytest.raises(TooManyRequests):
                await scene.say("one more")
            await scene.say("n0")
            for _ in range(10):
                await scene.clock.advance(0.1)
            assert scene.consensus.applied_index == before + GATHERED_MAX // BATCH_MAX
            await scene.say("one more")

    asyncio.run(body())


@pytest.mark.parametrize(
    "wrong",
    [
        {"vec": (0.0,) * 7},
        {"vec": (math.nan, *(0.0,) * 7)},
        {"vec": (math.inf, *(0.0,) * 7)},
        {"vec": (1e300, *(0.0,) * 7)},
        {"height": -1.0},
        {"error": math.nan},
        {"adjustment": -math.inf},
    ],
    ids=str,
)
def test_what_is_no_coordinate_is_refused_and_says_why(wrong: dict[str, Any]) -> None:
    async def body() -> None:
        async with leading("a") as scene:
            with pytest.raises(InvalidRequest, match="Invalid coordinate"):
                await scene.say("a", **wrong)
            with pytest.raises(InvalidRequest):
                await scene.say("")
            await scene.clock.advance(PERIOD_S)
            assert scene.known() == {}

    asyncio.run(body())


def test_while_a_server_runs_an_older_release_they_wait_and_are_written_once_it_is_gone() -> None:
    async def body() -> None:
        async with leading("a") as scene:
            scene.consensus.others = (PeerRelease("old", "0.0", 2),)
            await scene.say("a", 0.1)
            await scene.clock.advance(10 * PERIOD_S)
            assert scene.known() == {}
            scene.consensus.others = ()
            await scene.clock.advance(2 * PERIOD_S)
            assert scene.known() == {"a": 0.1}

    asyncio.run(body())
