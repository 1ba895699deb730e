"""A leader's lease: until when nobody else can lead, by its own clock (dissertation 6.4.1). Held by `RaftState`.

A voter that hears a leader helps nobody else into an election for `election_timeout_s` after. So from the moment a round
was *sent* that a majority answered, no other leader can be for that long; the lease ends earlier, by as much as clocks may
drift meanwhile. It is a time and not a flag: a leader that was paused finds it over when it looks at its clock again.
"""

from __future__ import annotations

from collections import deque
from typing import Final

LEASE_FRACTION: Final = 0.75
"""Of the election timeout: the rest is for the drift of two clocks during it."""
ROUNDS_MAX: Final = 256
"""Rounds that were sent and not answered by a majority. The oldest are forgotten: that only makes the lease begin later."""


class Lease:
    """When which round was sent, and the latest that a majority answered."""

    def __init__(self, election_timeout_s: float) -> None:
        self._length_s = election_timeout_s * LEASE_FRACTION
        self._rounds: deque[tuple[int, float]] = deque(maxlen=ROUNDS_MAX)
        self._began_s = float("-inf")
        self._is_over = False

    def sent(self, round: int, now: float) -> None:
        """A round goes out now."""
        self._rounds.append((round, now))

    def confirmed(self, round: float) -> None:
        """A majority has answered this round, and so all before."""
        while self._rounds and self._rounds[0][0] <= round:
            self._began_s = self._rounds.popleft()[1]

    def begin_again(self) -> None:
        """The voters changed: what the old ones promised is not counted among the new."""
        self._rounds.clear()
        self._began_s = float("-inf")

    def end(self) -> None:
        """For the rest of the term: another was told to stand at once, whatever others have promised, and that word may
        arrive late (dissertation 6.4.1)."""
        self._is_over = True

    def is_valid(self, now: float) -> bool:
        """Whether nobody else can lead now."""
        return not self._is_over and now - self._began_s < self._length_s
