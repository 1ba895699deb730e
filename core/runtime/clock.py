"""Time as a value that can be handed in, so that shells can be driven by tests. Called by every shell."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds. `now` is monotonic, for deadlines; `wall` is Unix time, for certificates and people."""

    def now(self) -> float: ...
    def wall(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def wall(self) -> float:
        """Unix seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running loop."""
        await asyncio.sleep(max(0.0, seconds))


class ManualClock:
    """A clock that tests move: `advance` moves both times and wakes the sleepers whose time has come, in order."""

    def __init__(self, now: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._now = now
        self._wall = wall
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        """Monotonic seconds, as moved."""
        return self._now

    def wall(self) -> float:
        """Unix seconds, as moved."""
        return self._wall

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` passes the moment."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        self._sleepers.append((self._now + seconds, self._count, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time on, stopping at each sleeper's moment so that what it does happens then."""
        target = self._now + seconds
        while True:
            await _settle()
            due = min((s for s in self._sleepers if s[0] <= target), default=None)
            if due is None:
                break
            self._sleepers.remove(due)
            self._wall += due[0] - self._now
            self._now = due[0]
            if not due[2].done():
                due[2].set_result(None)
        self._wall += target - self._now
        self._now = target
        await _settle()

    def jump_wall(self, seconds: float) -> None:
        """Move the wall clock alone, as a person or NTP would."""
        self._wall += seconds


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
