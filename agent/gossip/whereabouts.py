"""Tells the servers where this agent is in the network: often while it learns that, then seldom. Made by `agent.cluster`.

The more agents there are, the more seldom each tells, so that all together tell at most UPDATES_PER_S. What is lost on the
way is mended by the next.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, Protocol

import structlog

from chowk.core.coordinate_requests import COORDINATE_UPDATE, CoordinateUpdate
from chowk.core.errors import ChowkError
from chowk.core.records.coordinate import Coordinate, NodeCoordinate
from chowk.core.requests import Method
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.gossip")

INTERVAL_S_FIRST: Final = 2.0
"""It doubles each time up to INTERVAL_S."""

INTERVAL_S: Final = 15.0
UPDATES_PER_S: Final = 64.0
TIMEOUT_S: Final = 5.0


class Learned(Protocol):
    """The part of gossip that is needed."""

    name: str

    def coordinate(self) -> Coordinate | None:
        """Where this agent is; None where it is not to know."""
        ...


class Calls(Protocol):
    """The part of the agent's RPC client that is needed."""

    async def call(self, method: Method[Any, Any], request: Any, *, timeout_s: float) -> Any:
        """Call and await the answer. ChowkError."""
        ...


class Whereabouts:
    """`size()` is how many agents there are."""

    def __init__(self, gossip: Learned, client: Calls, size: Callable[[], int], clock: Clock, rng: Random) -> None:
        self._gossip = gossip
        self._client = client
        self._size = size
        self._clock = clock
        self._rng = rng
        self._tasks = TaskOwner("whereabouts")

    def start(self) -> None:
        """Begin."""
        self._tasks.spawn(self._tell_for_ever(), "tell")

    async def close(self) -> None:
        """End."""
        await self._tasks.close()

    async def _tell_for_ever(self) -> None:
        interval_s = INTERVAL_S_FIRST
        while True:
            await self._clock.sleep(max(interval_s, self._size() / UPDATES_PER_S) * self._rng.uniform(1.0, 1.5))
            interval_s = min(2 * interval_s, INTERVAL_S)
            coordinate = self._gossip.coordinate()
            if coordinate is None:
                continue
            said = CoordinateUpdate(coordinate=NodeCoordinate(node=self._gossip.name, coord=coordinate))
            try:
                await self._client.call(COORDINATE_UPDATE, said, timeout_s=TIMEOUT_S)
            except ChowkError as error:
                log.debug("the servers could not be told where this agent is", error=str(error))
