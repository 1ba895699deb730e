"""The TTL check: the application reports itself at least each `ttl`, or becomes critical. Called by the scheduler.

Measured on the monotonic clock: a wall clock that jumps expires nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chowk.core.runtime.clock import Clock


class TtlTimer:
    """`run` calls `expire` each time `ttl_s` passed without a heartbeat; after that it waits for the next one."""

    def __init__(self, ttl_s: float, clock: Clock, expire: Callable[[], None]) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._expire = expire
        self._deadline = clock.now() + ttl_s
        self._beat = asyncio.Event()

    def heartbeat(self) -> None:
        """The application was heard of."""
        self._deadline = self._clock.now() + self._ttl_s
        self._beat.set()

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            left_s = self._deadline - self._clock.now()
            if left_s > 0:
                await self._clock.sleep(left_s)
                continue
            self._beat.clear()
            self._expire()
            await self._beat.wait()
