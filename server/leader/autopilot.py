"""Keeps the Raft cluster as its servers are: adds new ones, promotes those that have settled, removes those that left or
died, notes a changed address. What to do is `pilot`'s to say; this asks it every second and does one thing at a time.

A `duties.Duty`; the endpoints of `server.rpc.operator` ask it for `state`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import structlog

from chowk.core.errors import ChowkError, NoLeader
from chowk.core.operator_requests import AutopilotState, ServerHealth
from chowk.core.runtime.clock import Clock
from chowk.core.server_options import Autopilot as Settings
from chowk.core.server_options import ServerOptions
from chowk.server.leader.pilot import Action, Add, Health, Pilot, Promote, failure_tolerance
from chowk.server.port import Consensus, PeerProgress
from chowk.server.rpc.board import ClusterBoard
from chowk.server.state.machine import StoreMachine

log = structlog.get_logger("chowk.autopilot")
LOOK_S: Final = 1.0
CONTACT_S_MIN: Final = 0.6
"""For a raft_multiplier of 1, a few heartbeats: a server is not unhealthy for less, whatever the threshold says."""


class Autopilot:
    """One view of the servers a term."""

    name = "autopilot"

    def __init__(
        self, options: ServerOptions, machine: StoreMachine, consensus: Consensus, board: ClusterBoard, clock: Clock
    ) -> None:
        self._options = options
        self._machine = machine
        self._consensus = consensus
        self._board = board
        self._clock = clock
        self._pilot = Pilot()
        self._healths: tuple[Health, ...] = ()
        self._relapses: dict[str, int] = {}

    def settings(self) -> Settings:
        """Those that were written last, else those of this server's configuration."""
        written = self._machine.store.autopilot
        return written.settings if written is not None else self._options.autopilot

    async def run(self) -> None:
        """See duties.Duty."""
        self._pilot, self._relapses = Pilot(), {}
        while True:
            action = self._look()
            if action is None or not await self._perform(action):
                await self._clock.sleep(LOOK_S)

    def state(self) -> AutopilotState:
        """How the servers are. NoLeader where this server does not lead."""
        if not self._consensus.is_leader:
            raise NoLeader
        self._look()
        term = int(self._consensus.stats().get("term", "0"))
        wall_s = self._clock.wall() - self._clock.now()
        servers = tuple(
            ServerHealth(
                id=health.server.id,
                node=health.server.node,
                address=health.server.address,
                status=health.status,
                version=health.version,
                leader=health.server.leader,
                voter=health.server.voter,
                healthy=health.healthy,
                last_contact_ms=-1 if math.isinf(health.last_contact_s) else int(health.last_contact_s * 1000),
                last_term=term,
                last_index=self._consensus.applied_index if health.server.leader else health.match,
                stable_since=wall_s + health.since,
            )
            for health in self._healths
        )
        return AutopilotState(
            healthy=all(server.healthy for server in servers),
            failure_tolerance=failure_tolerance(self._healths),
            servers=servers,
        )

    def _look(self) -> Action | None:
        now, settings = self._clock.now(), self.settings()
        _index, servers = self._consensus.configuration()
        contact_s_max = max(settings.last_contact_threshold_s, CONTACT_S_MIN * self._options.raft.raft_multiplier)
        members = self._board.members
        progress = self._consensus.progress()
        self._tell_relapses(progress)
        self._healths = self._pilot.look(servers, members, progress, settings, contact_s_max, now)
        if not self._board.has_report:
            return None
        return self._pilot.decide(self._healths, members, settings, self._options.datacenter, now)

    def _tell_relapses(self, progress: Mapping[str, PeerProgress]) -> None:
        for id, known in progress.items():
            if known.relapses > self._relapses.get(id, 0):
                log.error(
                    "a server had lost entries that it acknowledged; it was sent them again",
                    id=id,
                    why="its disk lost the end of its log, or an old copy of its folder was put back: see to the disk",
                )
            self._relapses[id] = known.relapses

    async def _perform(self, action: Action) -> bool:
        """Whether it was done: then there may be more to do."""
        try:
            match action:
                case Add():
                    await self._consensus.add_learner(action.id, action.address, action.node)
                    log.info("server takes part", server=action.node, id=action.id, address=action.address)
                case Promote():
                    await self._consensus.promote(action.id)
                    log.info("server votes", id=action.id)
                case _:
                    await self._consensus.remove(action.id)
                    log.warning("server removed", id=action.id, reason=action.reason)
        except ChowkError as error:
            log.warning("the servers could not be changed; trying again", action=str(action), error=str(error))
            return False
        return True
