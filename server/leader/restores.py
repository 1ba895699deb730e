"""Frees what every server keeps of a restore that nobody goes on with. A `duties.Duty`."""

from __future__ import annotations

from typing import Final

import structlog

from chowk.core.commands import FinishRestore
from chowk.core.runtime.clock import Clock
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine

log = structlog.get_logger("chowk.leader")
LOOK_S: Final = 60.0


class AbandonedRestores:
    """A restore that did not get a piece between two looks has lost whoever sent them."""

    name = "abandoned restores"

    def __init__(self, machine: StoreMachine, writes: Writes, clock: Clock) -> None:
        self._machine = machine
        self._writes = writes
        self._clock = clock

    async def run(self) -> None:
        """See duties.Duty."""
        seen: tuple[str, int] | None = None
        while True:
            await self._clock.sleep(LOOK_S)
            staging = self._machine.store.staging
            found = (staging.id, len(staging.pieces)) if staging is not None else None
            if found is not None and found == seen:
                log.warning("a restore was not gone on with; its pieces are forgotten", pieces=found[1])
                await self._writes.propose(FinishRestore(id=found[0], abandon=True))
            seen = found
