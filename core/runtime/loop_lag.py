"""How long the event loop of this process was held up: by our own code, or because the machine gave it no core.

A timer asks to run after TICK_S; how much later it runs is the lag, and what held it is one long callback or many short
ones before it. From the kernel (proc(5), /proc/PID/schedstat: nanoseconds spent waiting on a run queue) it is known for how
much of that time the thread could have run and got no core. The rest is `blocked`: our code, the collector, the
interpreter's lock, or a disk. A block that begins between two ticks is seen up to one period shorter than it was.
The period is longer while the loop does little, since waking an idle process is what costs (90 us on a virtual machine): a
loop under load is watched closely, and the first block of an idle one may be missed.

One is made by each long-lived process; `stats` go to `/v1/agent/metrics`.
"""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from typing import Final

import structlog

log = structlog.get_logger("chowk.loop")

TICK_S: Final = 0.02
IDLE_TICK_S: Final = 0.16
"""The longest period: it doubles while the loop does little."""
IDLE_PART: Final = 0.1
"""The loop does little when its thread computes for less of a period than this."""
BLOCKED_S: Final = 0.05
"""The bar: a block longer than this is told in the log."""
LOG_INTERVAL_S: Final = 10.0
"""At most one line in this time; it tells the longest block since the last."""
BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Upper bounds of the histogram's buckets; the last bucket has none."""


class LagTally:
    """What was seen so far. Pure: times are handed in."""

    def __init__(self) -> None:
        self.ticks = 0
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.blocked_sum_s = self.blocked_max_s = 0.0
        self.stalled_sum_s = self.stalled_max_s = 0.0
        self.over = 0
        self.last_over_s = 0.0
        self._told_at = float("-inf")
        self._untold_s = 0.0
        self._untold = 0

    def add(self, stalled_s: float, waited_s: float, now: float) -> dict[str, float] | None:
        """A tick was `stalled_s` late, of which the thread waited `waited_s` for a core. Returns what to log now."""
        stalled_s = max(0.0, stalled_s)
        blocked_s = max(0.0, stalled_s - max(0.0, waited_s))
        self.ticks += 1
        self.counts[bisect_left(BOUNDS_S, blocked_s)] += 1
        self.blocked_sum_s += blocked_s
        self.stalled_sum_s += stalled_s
        self.blocked_max_s = max(self.blocked_max_s, blocked_s)
        self.stalled_max_s = max(self.stalled_max_s, stalled_s)
        if blocked_s > BLOCKED_S:
            self.over += 1
            self.last_over_s = blocked_s
            self._untold += 1
            self._untold_s = max(self._untold_s, blocked_s)
        if not self._untold or now - self._told_at < LOG_INTERVAL_S:
            return None
        told = {"longest_ms": round(self._untold_s * 1000, 1), "times": self._untold}
        self._told_at, self._untold, self._untold_s = now, 0, 0.0
        return told

    def stats(self) -> dict[str, str]:
        """Name -> number as text: seconds, and the histogram's counts (not cumulative) as `bucket_<upper bound>`."""
        figures: dict[str, float] = {
            "ticks": self.ticks,
            "blocked_max": self.blocked_max_s,
            "blocked_sum": self.blocked_sum_s,
            "blocked_last_long": self.last_over_s,
            "blocked_long": self.over,
            "stalled_max": self.stalled_max_s,
            "stalled_sum": self.stalled_sum_s,
        }
        names = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
        figures.update({f"bucket_{name}": count for name, count in zip(names, self.counts, strict=True)})
        return {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in figures.items()}


class LoopLag:
    """`start` on the loop that is to be watched; `close` ends it. The thread that calls `start` must be the loop's."""

    def __init__(self) -> None:
        self.tally = LagTally()
        self._timer: asyncio.TimerHandle | None = None
        self._schedstat = -1
        self._period_s = TICK_S
        self._due = self._computed_s = 0.0
        self._waited_ns = 0

    def start(self) -> None:
        """Begin to tick."""
        try:
            self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._schedstat = -1  # A kernel that does not count this: then all lag is taken for ours.
        self._waited_ns = self._waited()
        self._computed_s = time.thread_time()
        self._ask(asyncio.get_running_loop())

    def close(self) -> None:
        """End. Safe to call twice, and without `start`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._schedstat >= 0:
            os.close(self._schedstat)
            self._schedstat = -1

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = time.monotonic() + self._period_s
        self._timer = loop.call_later(self._period_s, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        waited_ns = self._waited()
        told = self.tally.add(now - self._due, (waited_ns - self._waited_ns) / 1e9, now)
        self._waited_ns = waited_ns
        computed_s = time.thread_time()
        idle = computed_s - self._computed_s < self._period_s * IDLE_PART
        self._period_s = min(IDLE_TICK_S, self._period_s * 2) if idle else TICK_S
        self._computed_s = computed_s
        if told is not None:
            log.warning("the event loop was blocked", bar_ms=round(BLOCKED_S * 1000), **told)
        self._ask(loop)

    def _waited(self) -> int:
        """Nanoseconds that this thread has waited for a core since it began; 0 where that is not known."""
        if self._schedstat < 0:
            return 0
        return int(os.pread(self._schedstat, 64, 0).split()[1])
