"""Whose turn it is: members one after the other in random order, and then in another (SWIM, 4.3).

Random choice would leave out some for long; turns bound how long. Used for probing and for passing on broadcasts.
"""

from __future__ import annotations

import random

from chowk.agent.gossip.roster import Known, Roster


class Turns:
    """Over the members of `roster` in one of `states`."""

    def __init__(self, roster: Roster, states: tuple[int, ...], rng: random.Random) -> None:
        self._roster = roster
        self._states = states
        self._rng = rng
        self._order: list[str] = []

    def add(self, name: str) -> None:
        """One who has just become live takes a random place in the present order."""
        if len(self._order) < 2 * self._roster.live_count():
            self._order.insert(self._rng.randint(0, len(self._order)), name)

    def take(self, count: int) -> list[Known]:
        """The next `count` members, all different; fewer where there are not so many."""
        roster = self._roster
        wanted = min(count, sum(roster.count(state) for state in self._states))
        taken: list[Known] = []
        again: list[str] = []
        while len(taken) < wanted:
            if not self._order:
                self._order = [known.name for state in self._states for known in roster.in_state(state)]
                self._rng.shuffle(self._order)
            name = self._order.pop()
            known = roster.get(name)
            if known in taken:
                again.append(name)
            elif known is not None and known.state in self._states:
                taken.append(known)
        self._order += again
        return taken
