"""How many requests an instance should have in work at once: a fixed number, or one that is found by watching latency. Pure.

The adaptive limit is the gradient controller of Envoy's adaptive concurrency filter (after Netflix's concurrency-limits): in
each window the limit is multiplied by (least latency + BUFFER) / latency now, and gets its square root as headroom to grow
into. By Little's law it settles where the server begins to queue: about 1.25 c + sqrt(1.25 c) for one that does c at a time.

Two things differ. The least latency is measured anew every MEASURE_EVERY_S at half of the limit rather than at 3 requests:
below 1.6 times the capacity half is below it, so the queue is gone, yet little is shed meanwhile; a limit that was far too
high comes down with each measurement, and those follow each other until nothing changes. And the limit rises only when at
least half of it is used, so that quiet hours do not lift it to where a surge would find no limit.
"""

from __future__ import annotations

import math
import random
from typing import Final

WINDOW_S: Final = 0.1
"""Or as long as a request takes, where that is more: sooner, a change of the limit does not show."""
SAMPLES_MIN: Final = 5
"""A window with fewer answers is prolonged."""
SAMPLES_MAX: Final = 1000
"""Of one window; further ones are not looked at."""
BUFFER: Final = 0.25
GRADIENT_MIN: Final = 0.5
GRADIENT_MAX: Final = 2.0
MEASURE_EVERY_S: Final = 30.0
MEASURE_SOON_S: Final = 1.0
"""The next one, when the last found less than CHANGED of what was known before."""
CHANGED: Final = 0.9
MEASURE_S_MAX: Final = 1.0
"""A measurement of a slow service ends after this, if it has SAMPLES_MIN answers."""
MEASURE_PART: Final = 0.05
"""Measuring takes at most about this part of the time."""
MEASURE_SAMPLES: Final = 25
LOW_WINDOWS: Final = 5
"""After so many windows below half of the limit that was measured last, the server itself has become slower: measure."""
LIMIT_MIN: Final = 3
LIMIT_MAX: Final = 1000
LIMIT_FIRST: Final = 20


class FixedLimit:
    """A number that somebody has chosen; 0 is no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def sample(self, now: float, latency_s: float, inside: int, rng: random.Random) -> None:
        """Nothing is learned."""


class AdaptiveLimit:
    """`limit` now; `least_s` the latency without a queue (0.0: not known yet); `measuring`: it is held down for that."""

    def __init__(self, limit_min: int = 0, limit_max: int = 0) -> None:
        self.limit_max = limit_max or LIMIT_MAX
        self.limit_min = min(limit_min or LIMIT_MIN, self.limit_max)
        self.least_s = 0.0
        self.measuring = True
        self.measurements_total = 0
        self._limit = float(min(max(LIMIT_FIRST, self.limit_min), self.limit_max))
        self._measured_limit = self._limit
        self._samples: list[float] = []
        self._inside_max = 0
        self._latency_s = 0.0
        self._since = -1.0
        self._skip = 0
        self._measure_at = 0.0
        self._low = 0

    @property
    def limit(self) -> int:
        """Requests that may be in work."""
        return max(self.limit_min, int(self._limit / 2)) if self.measuring else int(self._limit)

    def sample(self, now: float, latency_s: float, inside: int, rng: random.Random) -> None:
        """A request was answered (or timed out) after `latency_s`, when `inside` were in work, it included."""
        if self._since < 0.0:
            self._begin(now)
        if self.measuring and (inside > self.limit or self._skip):
            self._skip = self.limit if inside > self.limit else self._skip - 1
            return
        self._inside_max = max(self._inside_max, inside)
        if len(self._samples) < SAMPLES_MAX:
            self._samples.append(latency_s)
        if len(self._samples) < SAMPLES_MIN:
            return
        if self.measuring:
            if len(self._samples) >= MEASURE_SAMPLES or now - self._since >= MEASURE_S_MAX:
                self._measured(now, rng)
        elif now - self._since >= max(WINDOW_S, self._latency_s):
            self._adjust()
            self._begin(now)
            if now >= self._measure_at or self._low >= LOW_WINDOWS:
                self.measuring = True
                self._skip = self.limit  # those in work now began when the limit was another

    def _begin(self, now: float) -> None:
        self._samples.clear()
        self._inside_max = 0
        self._since = now

    def _measured(self, now: float, rng: random.Random) -> None:
        self._samples.sort()
        before, self.least_s = self.least_s, max(_middle(self._samples), 1e-6)
        self.measuring = False
        self.measurements_total += 1
        self._measured_limit = self._limit
        pause = MEASURE_SOON_S if not before or self.least_s < before * CHANGED else MEASURE_EVERY_S
        pause = max(pause, (now - self._since) / MEASURE_PART)
        self._measure_at = now + pause * (0.9 + 0.2 * rng.random())
        self._low = 0
        self._begin(now)

    def _adjust(self) -> None:
        self._samples.sort()
        self._latency_s = max(_middle(self._samples), 1e-6)
        gradient = self.least_s * (1.0 + BUFFER) / self._latency_s
        gradient = min(max(gradient, GRADIENT_MIN), GRADIENT_MAX)
        wanted = gradient * self._limit
        wanted += math.sqrt(wanted)
        if wanted > self._limit and self._inside_max < self._limit / 2:
            return
        self._limit = min(max(wanted, float(self.limit_min)), float(self.limit_max))
        self._low = self._low + 1 if self._limit < self._measured_limit / 2 else 0


def _middle(ordered: list[float]) -> float:
    return ordered[len(ordered) // 2]
