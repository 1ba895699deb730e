"""Runs what a server does while it leads: each duty is one task, begun when leadership begins and cancelled when it ends.

A duty of one term never runs beside one of another: the new ones wait until the old ones have ended. One that fails is run
again after growing pauses. Made by `leadership`; other rooms add a duty with `LeaderDuties.add`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

import structlog

from chowk.core.errors import ChowkError
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.leader")
RETRY_S_FIRST: Final = 0.1
RETRY_S_MAX: Final = 10.0


class Duty(Protocol):
    """One thing that the leader does. Its writes (`server.rpc.writes`) are refused where this server leads no more."""

    @property
    def name(self) -> str:
        """What logs call it."""
        ...

    async def run(self) -> None:
        """Do it, from when this server begins to lead until it is cancelled, or until it is done for this term. A ChowkError
        or OSError makes it run again. It starts from what the store holds, whatever an earlier term's run had got to."""
        ...


class LeaderDuties:
    """`led` is called when leadership begins and ends; `close` ends all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._duties: list[Duty] = []
        self._tasks = TaskOwner("leader")
        self._term: list[asyncio.Task[None]] = []

    def add(self, duty: Duty) -> None:
        """One more, before this server begins to lead."""
        self._duties.append(duty)

    def led(self, leading: bool) -> None:
        """This server begins to lead, or leads no more."""
        ending = [task for task in self._term if not task.done()]
        for task in ending:
            task.cancel()
        self._term = ending
        if leading:
            self._term = [*ending, *(self._tasks.spawn(self._keep(duty, ending), duty.name) for duty in self._duties)]

    async def close(self) -> None:
        """End every duty."""
        await self._tasks.close()

    async def _keep(self, duty: Duty, ending: Sequence[asyncio.Task[Any]]) -> None:
        if ending:
            await asyncio.wait(ending)
        pause_s = RETRY_S_FIRST
        while True:
            started = self._clock.now()
            try:
                await duty.run()
            except (ChowkError, OSError) as error:
                log.error("a duty of the leader failed; trying again", duty=duty.name, error=str(error), in_s=pause_s)
            except Exception as error:
                # The task's outer edge: a bug of ours must not end a duty for the rest of the term.
                log.error("a duty of the leader broke; trying again", duty=duty.name, error=str(error), exc_info=error)
            else:
                return
            if self._clock.now() - started > RETRY_S_MAX:
                pause_s = RETRY_S_FIRST
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)
