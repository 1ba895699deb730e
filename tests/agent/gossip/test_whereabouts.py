"""Where an agent is it tells the servers: often at first, then seldom, and the more agents there are the more seldom."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from chowk.agent.gossip.whereabouts import INTERVAL_S, INTERVAL_S_FIRST, UPDATES_PER_S, Whereabouts
from chowk.core.coordinate_requests import COORDINATE_UPDATE
from chowk.core.errors import Unavailable
from chowk.core.records.coordinate import Coordinate
from chowk.core.runtime.clock import ManualClock


class Scene:
    """Gossip and the servers in one."""

    name = "web1"

    def __init__(self, size: int = 3) -> None:
        self.size = size
        self.clock = ManualClock()
        self.told: list[tuple[float, Any]] = []
        self.down = False
        self.where: Coordinate | None = Coordinate(height=0.5)

    def coordinate(self) -> Coordinate | None:
        return self.where

    async def call(self, method: Any, request: Any, *, timeout_s: float) -> Any:
        assert method is COORDINATE_UPDATE
        assert timeout_s > 0
        if self.down:
            raise Unavailable("no server")
        self.told.append((self.clock.now(), request))

    async def run(self, seconds: int) -> None:
        part = Whereabouts(self, self, lambda: self.size, self.clock, Random(1))
        part.start()
        for _ in range(seconds):
            await self.clock.advance(1.0)
        await part.close()


def test_the_first_comes_soon_and_later_ones_every_fifteen_seconds_or_so() -> None:
    async def body() -> None:
        scene = Scene()
        began = scene.clock.now()
        await scene.run(300)
        times = [at - began for at, _ in scene.told]
        assert times[0] <= 2 * INTERVAL_S_FIRST
        assert 300 / (1.5 * INTERVAL_S) <= len(times) <= 300 / INTERVAL_S + 4
        assert {request.coordinate.node for _, request in scene.told} == {"web1"}
        assert scene.told[0][1].coordinate.coord == Coordinate(height=0.5)

    asyncio.run(body())


def test_all_agents_together_tell_no_more_than_a_bounded_number_a_second() -> None:
    async def body() -> None:
        scene = Scene(size=6400)
        await scene.run(1000)
        assert 6400 * len(scene.told) / 1000 <= UPDATES_PER_S

    asyncio.run(body())


def test_servers_that_are_away_and_agents_that_are_not_to_tell_are_no_error() -> None:
    async def body() -> None:
        scene = Scene()
        scene.down = True
        await scene.run(60)
        scene.down, scene.where = False, None
        await scene.run(60)
        assert scene.told == []
        scene.where = Coordinate()
        await scene.run(60)
        assert scene.told

    asyncio.run(body())
