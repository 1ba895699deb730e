"""Keeps this server's own node in the catalog where there is no gossip to speak of it. A `duties.Duty`."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from chowk.core.errors import ChowkError
from chowk.core.runtime.clock import Clock
from chowk.core.server_options import ServerOptions
from chowk.server.leader.membership import missing_member
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine

log = structlog.get_logger("chowk.leader")
RETRY_S: Final = 0.1


class OwnNode:
    """Set `changed` when nodes, or the service `consul`, changed in the store."""

    name = "own node"

    def __init__(self, options: ServerOptions, machine: StoreMachine, writes: Writes, clock: Clock) -> None:
        self._options = options
        self._machine = machine
        self._writes = writes
        self._clock = clock
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """See duties.Duty."""
        while True:
            self.changed.clear()
            missing = missing_member(self._machine.store, self._options)
            try:
                if missing is not None:
                    await self._writes.propose(missing)
            except ChowkError as error:
                log.warning("a member is not in the catalog yet; trying again", error=str(error))
                await self._clock.sleep(RETRY_S)
                continue
            await self.changed.wait()
