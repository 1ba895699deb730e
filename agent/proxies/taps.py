"""Who on this agent looks at live requests, and what the sidecars send them. Called by the API and the control socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from chowk.connect.control import Tap, Tapped
from chowk.connect.stats.observation import RequestFilter, RequestRecord
from chowk.core.runtime.clock import Clock

TAPS_MAX: Final = 8
REQUESTS_MAX: Final = 2_000
"""Requests kept for one reader; beyond that the oldest are dropped, and it is told how many."""


class TapReader:
    """One reader. Made by `TapHub.open`."""

    def __init__(self, tap: Tap, service: str) -> None:
        self.tap = tap
        self.service = service
        self._requests: deque[RequestRecord] = deque(maxlen=REQUESTS_MAX)
        self._missed = 0
        self._more = asyncio.Event()

    def take(self, requests: tuple[RequestRecord, ...], missed: int) -> None:
        """Called by the hub with each batch."""
        self._missed += missed + max(0, len(self._requests) + len(requests) - REQUESTS_MAX)
        self._requests.extend(requests)
        self._more.set()

    async def read(self, timeout_s: float) -> tuple[list[RequestRecord], int]:
        """The requests since the last call, and how many more were not kept; nothing when none came in `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._more.wait()
        except TimeoutError:
            """Then there is nothing to tell."""
        self._more.clear()
        requests, missed = list(self._requests), self._missed
        self._requests.clear()
        self._missed = 0
        return requests, missed


class TapHub:
    """`on_change` is called when the taps that sidecars are to serve have changed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._readers: dict[int, TapReader] = {}
        self._count = 0
        self.on_change: Callable[[], None] = lambda: None

    def open(self, service: str, wanted: RequestFilter, per_s: int, seconds: float) -> TapReader | None:
        """Look at requests of the sidecars of `service` ("": of all) for so long. None when TAPS_MAX look already."""
        if len(self._readers) >= TAPS_MAX:
            return None
        self._count += 1
        tap = Tap(id=self._count, filter=wanted, per_s=per_s, ends_s=self._clock.wall() + seconds)
        reader = self._readers[tap.id] = TapReader(tap, service)
        self.on_change()
        return reader

    def close(self, reader: TapReader) -> None:
        """Look no more."""
        if self._readers.pop(reader.tap.id, None) is not None:
            self.on_change()

    def taps(self, service: str) -> tuple[Tap, ...]:
        """What a sidecar of `service` is to serve."""
        return tuple(reader.tap for reader in self._readers.values() if reader.service in ("", service))

    def receive(self, batch: Tapped) -> None:
        """A sidecar sent a batch; one for a reader that is gone is dropped."""
        reader = self._readers.get(batch.id)
        if reader is not None:
            reader.take(batch.requests, batch.missed)
