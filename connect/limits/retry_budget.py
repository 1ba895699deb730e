"""How many retries a listener may send: a part of its requests, and a few a second. Pure.

As in Finagle and Linkerd: without it, a service that fails gets each request several times, and never recovers.
Counted are the requests of the last WINDOW_S, not those in work: when requests fail at once, none are in work, and a
budget of those would allow no retry where retries do the most good.
"""

from __future__ import annotations

from typing import Final

WINDOW_S: Final = 10
"""In slots of a second."""


class RetryBudget:
    """`percent` of the requests of the last ten seconds, and `per_s_min` a second besides, unused ones kept as long."""

    def __init__(self, percent: float = 20.0, per_s_min: float = 3.0) -> None:
        self.percent = percent
        self.per_s_min = per_s_min
        self.retries_total = 0
        self.refused_total = 0
        self._requests = [0] * WINDOW_S
        self._retries = [0] * WINDOW_S
        self._second = 0

    def request(self, now: float) -> None:
        """A request came (not a retry of one). `now`: monotonic seconds."""
        self._turn(now)
        self._requests[self._second % WINDOW_S] += 1

    def take(self, now: float) -> bool:
        """Whether one retry may be sent now; if so it is counted."""
        self._turn(now)
        allowed = sum(self._requests) * self.percent / 100.0 + self.per_s_min * WINDOW_S
        if sum(self._retries) + 1 > allowed:
            self.refused_total += 1
            return False
        self._retries[self._second % WINDOW_S] += 1
        self.retries_total += 1
        return True

    def _turn(self, now: float) -> None:
        """Forget the slots that have passed."""
        second = int(now)
        for passed in range(min(second - self._second, WINDOW_S)):
            slot = (second - passed) % WINDOW_S
            self._requests[slot] = self._retries[slot] = 0
        self._second = max(second, self._second)
