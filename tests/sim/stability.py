"""Does a broken network disturb those who could go on? One scenario a seed, on a network without other faults.

The leader and its term must stay when a majority can work with it, and another must be found when it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sim.agenda import Violation

if TYPE_CHECKING:
    from sim.world import World

BEGIN_S: Final = 5.0
SETTLED_S: Final = 12.0
"""When a new leader must have been found."""
END_S: Final = 18.0
"""When the network is whole again; until the end of the run nothing may change then."""


class Stability:
    """Started by the world. `judge` after the run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._scenario = world.rng.choice(
            ("isolated follower", "bridge", "deaf leader", "mute leader", "deaf follower")
        )
        self._leader = ""
        self._term = 0
        self._acknowledged = 0
        world.agenda.at(BEGIN_S, self._begin)
        world.agenda.at(SETTLED_S, self._settled)
        world.agenda.at(END_S, self._end)

    def _now_leading(self) -> tuple[str, int]:
        leading = [
            (server.raft.term, server.id) for server in self._world.running() if server.raft and server.raft.leads
        ]
        term, id = max(leading, default=(0, ""))
        return id, term

    def _begin(self) -> None:
        world = self._world
        self._leader, self._term = self._now_leading()
        if not self._leader:
            raise Violation(f"nobody leads {BEGIN_S:g} s after the start")
        world.note("scenario", self._scenario, self._leader)
        ids = sorted(world.servers)
        others = [id for id in ids if id != self._leader]
        chosen = world.rng.choice(others)
        cuts = world.network.cuts
        match self._scenario:
            case "isolated follower":
                cuts.update((chosen, id) for id in ids if id != chosen)
                cuts.update((id, chosen) for id in ids if id != chosen)
            case "bridge":
                cuts.update({(chosen, self._leader), (self._leader, chosen)})
            case "deaf leader":
                cuts.update((id, self._leader) for id in others)
            case "mute leader":
                cuts.update((self._leader, id) for id in others)
            case "deaf follower":
                cuts.update((id, chosen) for id in ids if id != chosen)

    def _settled(self) -> None:
        leader, term = self._now_leading()
        if self._scenario in ("deaf leader", "mute leader"):
            if leader in ("", self._leader):
                raise Violation(f"{self._scenario}: no other leader was found")
            self._leader, self._term = leader, term
        self._expect("while the network is cut")
        self._acknowledged = sum(client.acknowledged for client in self._world.clients)

    def _end(self) -> None:
        self._expect("until the network is whole again")
        if sum(client.acknowledged for client in self._world.clients) == self._acknowledged:
            raise Violation(f"{self._scenario}: a majority could work, but no write was served")
        self._world.network.cuts.clear()

    def judge(self) -> None:
        """When the network has been whole for a while."""
        self._expect("after the network was whole again")

    def _expect(self, when: str) -> None:
        leader, term = self._now_leading()
        if (leader, term) != (self._leader, self._term):
            raise Violation(
                f"{self._scenario}: {self._leader} in term {self._term} was disturbed {when}: "
                f"{leader or 'nobody'} leads in term {term}"
            )
