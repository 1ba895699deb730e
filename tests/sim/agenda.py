"""Simulated time: what happens when, in one order that the seed alone decides; and each server's own clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Violation(AssertionError):
    """A promise was broken."""


class Agenda:
    """Callbacks by time; those of one moment in the order they were put in."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._count = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def at(self, time_s: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call at `time_s`, or now if that is past."""
        self._count += 1
        heapq.heappush(self._heap, (max(time_s, self.now), self._count, call, arguments))

    def after(self, delay_s: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call in `delay_s`."""
        self.at(self.now + delay_s, call, *arguments)

    def step(self) -> None:
        """The next thing happens."""
        self.now, _count, call, arguments = heapq.heappop(self._heap)
        self.steps += 1
        call(*arguments)

    def run_until(self, time_s: float, steps_max: int) -> None:
        """All that happens up to `time_s`. Violation after `steps_max`: a storm of messages."""
        last = self.steps + steps_max
        while self._heap and self._heap[0][0] <= time_s:
            self.step()
            if self.steps > last:
                raise Violation(f"a storm: more than {steps_max} steps to get to {time_s:.1f} s")
        self.now = max(self.now, time_s)


class LocalClock:
    """A server's own monotonic clock: it drifts, and jumps forward when it is told to."""

    def __init__(self, agenda: Agenda, offset_s: float, rate: float) -> None:
        self._agenda = agenda
        self._offset_s = offset_s
        self._rate = rate

    def now(self) -> float:
        """Seconds on this clock."""
        return self._agenda.now * self._rate + self._offset_s

    def global_time(self, local_s: float) -> float:
        """When this clock will show `local_s`, if it does not jump meanwhile."""
        return (local_s - self._offset_s) / self._rate + 1e-9

    def jump(self, forward_s: float) -> None:
        """Skip some time, as after the host's sleep."""
        self._offset_s += forward_s
