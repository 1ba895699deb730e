"""`chowk tap` at the proxy: which requests each tap takes, no more a second than it asked, sent to the agent in batches.

Called by `proxy`: `serve` with the taps of an instruction. A tap lapses by itself, so that one whose reader is gone with
its agent costs nothing for long; what is over its rate is counted, never kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from chowk.connect.control import Tap
from chowk.connect.stats.observation import Observers, RequestRecord
from chowk.core.errors import ChowkError
from chowk.core.runtime.clock import Clock

TAPS_MAX: Final = 8
PER_S_MAX: Final = 1000
FLUSH_S: Final = 0.1


class _Served:
    """One tap, and what it took since the last flush. `used` counts what it took in the second that began at `since`."""

    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self.taken: list[RequestRecord] = []
        self.missed = 0
        self.since = 0.0
        self.used = 0


class Taps:
    """`send` hands a batch to the agent; ChowkError when it is not there: the batch is dropped then."""

    def __init__(
        self,
        observers: Observers,
        clock: Clock,
        send: Callable[[int, tuple[RequestRecord, ...], int], Awaitable[None]],
    ) -> None:
        self._observers = observers
        self._clock = clock
        self._send = send
        self._served: dict[int, _Served] = {}
        self._wanted = asyncio.Event()

    def serve(self, taps: tuple[Tap, ...]) -> None:
        """Serve these from now on, and no others; of more than TAPS_MAX the first."""
        if not self._served and taps:
            self._observers.add(self._see)
        self._served = {tap.id: self._served.get(tap.id) or _Served(tap) for tap in taps[:TAPS_MAX]}
        if self._served:
            self._wanted.set()
        else:
            self._wanted.clear()
            self._observers.remove(self._see)

    async def run(self) -> None:
        """Flush what was taken, for ever; sleep while there is no tap."""
        while True:
            await self._wanted.wait()
            await self._clock.sleep(FLUSH_S)
            await self._flush()

    def _see(self, record: RequestRecord) -> None:
        now = self._clock.now()
        for served in self._served.values():
            if not served.tap.filter.takes(record):
                continue
            if now - served.since >= 1.0:
                served.since, served.used = now, 0
            if served.used >= min(served.tap.per_s, PER_S_MAX):
                served.missed += 1
                continue
            served.used += 1
            served.taken.append(record)

    async def _flush(self) -> None:
        wall = self._clock.wall()
        ended = [served for served in self._served.values() if wall >= served.tap.ends_s]
        for served in list(self._served.values()):
            taken, served.taken = served.taken, []
            missed, served.missed = served.missed, 0
            if taken or missed:
                try:
                    await self._send(served.tap.id, tuple(taken), missed)
                except ChowkError:
                    """Whoever looked is gone with the agent."""
        if ended:
            self.serve(tuple(served.tap for served in self._served.values() if served not in ended))
