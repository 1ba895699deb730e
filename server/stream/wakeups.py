"""Wakes blocking queries when what they look at changes. Called by `server.rpc`; told of changes by the wiring."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from chowk.core.events import Topic


class Wakeups:
    """Waiters by topic. Bounded by the calls that connections may have open."""

    def __init__(self) -> None:
        self._waiters: dict[Topic, set[asyncio.Future[None]]] = {}

    async def wait(self, topics: Iterable[Topic], seconds: float) -> bool:
        """Wait until one of `topics` changes: True; False when `seconds` have passed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wanted = tuple(topics)
        for topic in wanted:
            self._waiters.setdefault(topic, set()).add(future)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await future
        except TimeoutError:
            return False
        finally:
            for topic in wanted:
                self._forget(topic, future)
        return True

    def notify(self, topics: Iterable[Topic]) -> None:
        """`topics` changed."""
        for topic in topics:
            for future in self._waiters.get(topic, ()):
                if not future.done():
                    future.set_result(None)

    def notify_all(self) -> None:
        """Everything may have changed."""
        self.notify(tuple(self._waiters))

    def __len__(self) -> int:
        return sum(len(waiters) for waiters in self._waiters.values())

    def _forget(self, topic: Topic, future: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(topic)
        if waiters is not None:
            waiters.discard(future)
            if not waiters:
                del self._waiters[topic]
