"""Wakes blocking queries when what they look at changes. Called by `server.rpc`; told of changes by the wiring."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from chowk.core.events import KEY, KEY_PREFIX, KEY_TREE, Topic


class Wakeups:
    """Waiters by topic; those for a prefix of keys also by its length, so that a change of a key need not look at each.
    Bounded by the calls that connections may have open."""

    def __init__(self) -> None:
        self._waiters: dict[Topic, set[asyncio.Future[None]]] = {}
        self._prefix_lengths: dict[int, int] = {}

    async def wait(self, topics: Iterable[Topic], seconds: float) -> bool:
        """Wait until one of `topics` changes: True; False when `seconds` have passed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wanted = tuple(topics)
        for topic in wanted:
            self._add(topic, future)
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
            self._wake(topic)
            if topic.kind == KEY:
                for length in self._prefix_lengths:
                    if length <= len(topic.key):
                        self._wake(Topic(kind=KEY_PREFIX, key=topic.key[:length]))
            elif topic.kind == KEY_TREE:
                for waiting in self._waiters:
                    if waiting.kind in (KEY, KEY_PREFIX) and _overlap(waiting.key, topic.key):
                        self._wake(waiting)

    def notify_all(self) -> None:
        """Everything may have changed."""
        for topic in self._waiters:
            self._wake(topic)

    def __len__(self) -> int:
        return sum(len(waiters) for waiters in self._waiters.values())

    def _wake(self, topic: Topic) -> None:
        for future in self._waiters.get(topic, ()):
            if not future.done():
                future.set_result(None)

    def _add(self, topic: Topic, future: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(topic)
        if waiters is None:
            waiters = self._waiters[topic] = set()
            if topic.kind == KEY_PREFIX:
                self._prefix_lengths[len(topic.key)] = self._prefix_lengths.get(len(topic.key), 0) + 1
        waiters.add(future)

    def _forget(self, topic: Topic, future: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(topic)
        if waiters is not None:
            waiters.discard(future)
            if not waiters:
                del self._waiters[topic]
                if topic.kind == KEY_PREFIX:
                    self._prefix_lengths[len(topic.key)] -= 1
                    if not self._prefix_lengths[len(topic.key)]:
                        del self._prefix_lengths[len(topic.key)]


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
