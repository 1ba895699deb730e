"""Turns membership into the catalog: at every report of gossip, now and then anyway, and when leadership begins.

What to write is `reconcile`'s to say, from the store and the board as they are: a few writes at a time, then it is asked
again, so that nothing is written that is not true any more. A `duties.Duty`.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from chowk.core.cluster_requests import MembersReport
from chowk.core.errors import ChowkError, NoLeader
from chowk.core.runtime.clock import Clock
from chowk.core.server_options import ServerOptions
from chowk.server.leader.reconcile import Plan, plan, unknown_nodes
from chowk.server.rpc.board import ClusterBoard
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine

log = structlog.get_logger("chowk.members")
BATCH_WRITES: Final = 32
"""Writes under way at a time."""
WRITES_PER_S: Final = 400.0
ROUND_S: Final = 60.0
RETRY_S: Final = 0.5
FRESH_S: Final = 15.0
UNKNOWN_S: Final = 300.0
"""A node that gossip spoke of once and never in this long is removed, as one that was reaped while nobody led."""
REAPED_MAX: Final = 4096
"""Reaped names that wait to be removed; beyond that UNKNOWN_S takes care of them."""
REFUSALS_TOLD_MAX: Final = 256


class Members:
    """Follows the board from the start; writes only while it `run`s."""

    name = "members"

    def __init__(
        self, options: ServerOptions, machine: StoreMachine, writes: Writes, board: ClusterBoard, clock: Clock
    ) -> None:
        self._options = options
        self._machine = machine
        self._writes = writes
        self._board = board
        self._clock = clock
        self._reported = asyncio.Event()
        self._reported_s = float("-inf")
        self._reaped: dict[str, None] = {}
        self._told: frozenset[str] = frozenset()
        board.on_members(self._heard)

    def _heard(self, report: MembersReport) -> None:
        for name in report.reaped:
            if len(self._reaped) < REAPED_MAX:
                self._reaped[name] = None
        self._reported_s = self._clock.now()
        self._reported.set()

    async def run(self) -> None:
        """See duties.Duty. Agents report every change at once and repeat themselves every ten seconds: a last report that is
        older than FRESH_S was about another world, and the next one is waited for."""
        if self._clock.now() - self._reported_s > FRESH_S:
            self._reported.clear()
            await self._reported.wait()
        unknown_since: dict[str, float] = {}
        while True:
            self._reported.clear()
            gone = {*self._reaped, *self._long_unknown(unknown_since)}
            found = plan(
                self._machine.store,
                self._board.members,
                gone,
                self._options.node_name,
                self._options.datacenter,
                BATCH_WRITES,
            )
            self._tell(found)
            if found.writes:
                await self._write(found)
            else:
                self._reaped.clear()
                await self._wait()

    def _long_unknown(self, since: dict[str, float]) -> list[str]:
        now = self._clock.now()
        unknown = unknown_nodes(self._machine.store, self._board.members, self._options.node_name)
        for name in set(since) - unknown:
            del since[name]
        return [name for name in unknown if now - since.setdefault(name, now) >= UNKNOWN_S]

    async def _write(self, found: Plan) -> None:
        results = await asyncio.gather(
            *(self._writes.propose(command) for command in found.writes), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            if isinstance(failure, NoLeader) or not isinstance(failure, ChowkError):
                raise failure
        if failures:
            log.warning("members are not in the catalog yet; trying again", error=str(failures[0]))
        await self._clock.sleep(RETRY_S if failures else len(found.writes) / WRITES_PER_S)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(ROUND_S):
                await self._reported.wait()
        except TimeoutError:
            log.debug("a full round")

    def _tell(self, found: Plan) -> None:
        """Each refusal once for as long as it holds."""
        refused = frozenset(found.refused[:REFUSALS_TOLD_MAX])
        for reason in sorted(refused - self._told):
            log.warning("a member is left out of the catalog", reason=reason)
        self._told = refused
