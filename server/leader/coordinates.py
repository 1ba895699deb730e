"""The leader gathers what agents say of where they are in the network, and writes it a batch at a time: one entry of the log
for many nodes, at most one round every few seconds. Made by `server.server`.

Only the latest of each node counts. What is gathered is lost with the leadership; agents say it again.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final

import structlog

from chowk.core.commands import UpdateCoordinates
from chowk.core.coordinate_requests import COORDINATE_UPDATE, CoordinateUpdate
from chowk.core.errors import ChowkError, InvalidRequest, TooManyRequests
from chowk.core.limits import check_node_name
from chowk.core.records.coordinate import NodeCoordinate
from chowk.core.requests import Empty
from chowk.core.runtime.clock import Clock
from chowk.server.rpc.context import ServerContext
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine

log = structlog.get_logger("chowk.leader")
PERIOD_S: Final = 5.0
"""Between two rounds; the first news after a quiet time are written at once."""

BATCH_MAX: Final = 128
"""Nodes of one entry of the log."""

GATHERED_MAX: Final = 16_384
"""Nodes that wait to be written; the news of others are refused until there is room."""


class CoordinateUpdates:
    """A duty of the leader (`server.leader.duties`)."""

    name = "coordinates"

    def __init__(self, machine: StoreMachine, writes: Writes, clock: Clock) -> None:
        self._machine = machine
        self._writes = writes
        self._clock = clock
        self._gathered: dict[str, NodeCoordinate] = {}
        self._due = asyncio.Event()

    def serve(self, context: ServerContext) -> None:
        """Offer to note where a node is."""

        async def update(request: CoordinateUpdate) -> Empty:
            context.reads.check_datacenter(request.datacenter)
            self._gather(request.coordinate)
            return Empty()

        context.leader.serve(COORDINATE_UPDATE, update, is_repeatable=True)

    async def run(self) -> None:
        """See duties.Duty."""
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                try:
                    await self._write()
                except ChowkError as error:
                    self._due.set()
                    log.debug("coordinates are not written yet; trying again", error=str(error))
                await self._clock.sleep(PERIOD_S)
        finally:
            self._gathered.clear()

    def _gather(self, said: NodeCoordinate) -> None:
        if not said.node:
            raise InvalidRequest("Missing node name")
        check_node_name(said.node)
        if said.segment:
            raise InvalidRequest("Network segments are not supported")
        if said.coord.problem:
            raise InvalidRequest(f"Invalid coordinate: {said.coord.problem}")
        key = said.node.lower()
        known = self._machine.store.coordinates.get(key)
        if known is not None and known.coord == said.coord and key not in self._gathered:
            return  # an agent that is alone says the same for ever
        if key not in self._gathered and len(self._gathered) >= GATHERED_MAX:
            raise TooManyRequests(f"the coordinates of {GATHERED_MAX} nodes wait to be written already")
        self._gathered[key] = said
        self._due.set()

    async def _write(self) -> None:
        while self._gathered:
            batch = dict(islice(self._gathered.items(), BATCH_MAX))
            await self._writes.propose(UpdateCoordinates(coordinates=tuple(batch.values())))
            for key, written in batch.items():
                if self._gathered.get(key) is written:
                    del self._gathered[key]
