"""The core's timers: what is to be done when. A heap; no clock of its own, time comes with the calls."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

Action = Callable[[float], None]
"""Called with the time it is done at."""

NEVER: Final = float("inf")


class Timer:
    """One action to be done at `at`, unless it is cancelled."""

    __slots__ = ("action", "at", "order")

    def __init__(self, at: float, order: int, action: Action) -> None:
        self.at = at
        self.order = order
        self.action: Action | None = action

    def cancel(self) -> None:
        """It will not happen. Harmless when it has."""
        self.action = None

    def __lt__(self, other: Timer) -> bool:
        return (self.at, self.order) < (other.at, other.order)


class TimerQueue:
    """Timers in order; those of the same moment in the order they were set."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._order = 0

    def schedule(self, at: float, action: Action) -> Timer:
        """Do `action` at `at`."""
        self._order += 1
        timer = Timer(at, self._order, action)
        heapq.heappush(self._heap, timer)
        return timer

    def next_deadline(self) -> float:
        """When the next is due; NEVER when none is."""
        heap = self._heap
        while heap and heap[0].action is None:
            heapq.heappop(heap)
        return heap[0].at if heap else NEVER

    def run(self, now: float) -> None:
        """Do what is due at `now`."""
        while self.next_deadline() <= now:
            timer = heapq.heappop(self._heap)
            action = timer.action
            timer.action = None
            if action is not None:
                action(now)

    def shift(self, delay: float) -> None:
        """Put everything off by `delay`."""
        for timer in self._heap:
            timer.at += delay
