"""Handshakes cost about a millisecond of CPU each: done a few at a time, so that open connections keep their latency.

The steps of all handshakes of a process wait in one line. Each turn of the loop does about STEP_BUDGET_S of them and then
lets the loop look at the sockets again: a thousand newcomers delay an established connection by a step, not by all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

STEP_BUDGET_S: Final = 0.0005


class HandshakeLine:
    """First come, first served. Its length is bounded by the gate that every handshake passes before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._steps: deque[Callable[[], None]] = deque()
        self._running = False

    def add(self, step: Callable[[], None]) -> None:
        """Run `step` when its turn comes."""
        self._steps.append(step)
        if not self._running:
            self._running = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        deadline = self._clock() + STEP_BUDGET_S
        try:
            while self._steps:
                self._steps.popleft()()
                if self._clock() >= deadline:
                    break
        finally:
            self._running = bool(self._steps)
            if self._running:
                self._loop.call_soon(self._turn)
