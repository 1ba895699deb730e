"""The operator: adds, promotes, demotes and removes servers, one change at a time, also while things go wrong.

It asks any server that believes it leads. Called by the world when its profile says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chowk.server.raft.errors import ChangeRefused, NotLeading
from chowk.server.raft.records import Configuration, Member
from chowk.server.raft.state import Role

if TYPE_CHECKING:
    from sim.server import Server
    from sim.world import World

STEP_S: Final = 0.05
NEW_LEADERS_ASKED: Final = 0.5
VOTERS_MAX: Final = 5
MEMBERS_MAX: Final = 6
RETIRED_AFTER_S: Final = (0.5, 8.0)
"""How long a removed server goes on running before its data is thrown away."""


class Operator:
    """Started by the world; ends with its `is_calm`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        if world.profile.members_every_s:
            world.agenda.after(1.0, self._next)

    def _next(self) -> None:
        """Now and then any leader is asked; one that has only just won is asked more often, since it must refuse."""
        if self._world.is_calm:
            return
        rng, every_s = self._rng, self._world.profile.members_every_s
        leaders = [
            server
            for server in self._world.running()
            if not server.paused and server.raft is not None and server.raft.role is Role.LEADER
        ]
        new = [server for server in leaders if server.raft is not None and not server.raft.leads]
        if new and rng.random() < NEW_LEADERS_ASKED:
            self.change(rng.choice(new))
        elif leaders and rng.random() < STEP_S / every_s:
            self.change(rng.choice(leaders))
        self._world.agenda.after(rng.uniform(0.2, 1.8) * STEP_S, self._next)

    def change(self, leader: Server) -> None:
        """Ask this server for some change."""
        raft = leader.raft
        if raft is None:
            return
        old = raft.configuration
        action = self._rng.choice((self._add, self._promote, self._promote, self._remove, self._demote))
        new = action(old, leader.id)
        if new is None:
            return
        try:
            raft.change_configuration(new, leader.clock.now())
        except (ChangeRefused, NotLeading):
            return
        self._world.note("operator", leader.id, action.__name__, new.voters)
        leader.pump()

    def _add(self, old: Configuration, _leader: str) -> Configuration | None:
        if len(old.members) >= MEMBERS_MAX:
            return None
        blank = [
            server.id for server in self._world.alive() if old.member(server.id) is None and server.raft is not None
        ]
        id = self._rng.choice(blank) if blank and self._rng.random() < 0.5 else self._world.add_blank().id
        return old.joined_by(Member(id, id, voter=self._rng.random() < 0.3 and len(old.voters) < VOTERS_MAX))

    def _promote(self, old: Configuration, _leader: str) -> Configuration | None:
        learners = [member for member in old.members if not member.voter]
        if not learners or len(old.voters) >= VOTERS_MAX:
            return None
        return old.joined_by(Member(self._rng.choice(learners).id, "", voter=True))

    def _remove(self, old: Configuration, leader: str) -> Configuration | None:
        removable = [member for member in old.members if not member.voter or len(old.voters) > 1]
        if not removable:
            return None
        chosen = leader if len(old.voters) > 1 and self._rng.random() < 0.3 else self._rng.choice(removable).id
        return old.left_by(chosen)

    def _demote(self, old: Configuration, _leader: str) -> Configuration | None:
        if len(old.voters) <= 1:
            return None
        return old.joined_by(Member(self._rng.choice(old.voters), "", voter=False))
