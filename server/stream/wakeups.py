"""Wakes blocking queries when what they look at changes. Called by `server.rpc`; told of changes by the wiring.

Ten thousand may look at one thing. They are woken a few at a time, and the loop does other work between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from chowk.core.events import KEY, KEY_PREFIX, KEY_TREE, Topic

WAKES_A_TURN: Final = 128
"""Waiters woken in one turn of the loop: each reads and answers in the next, in some 100 us."""


class Wakeups:
    """Waiters by topic; those for a prefix of keys also by its length, so that a change of a key need not look at each.
    Bounded by the calls that connections may have open."""

    def __init__(self) -> None:
        self._waiters: dict[Topic, set[asyncio.Future[None]]] = {}
        self._prefix_lengths: dict[int, int] = {}
        self._due: deque[asyncio.Future[None]] = deque()
        self._waking = False

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
            self._take(topic)
            if topic.kind == KEY:
                for length in list(self._prefix_lengths):
                    if length <= len(topic.key):
                        self._take(Topic(kind=KEY_PREFIX, key=topic.key[:length]))
            elif topic.kind == KEY_TREE:
                for waiting in list(self._waiters):
                    if waiting.kind in (KEY, KEY_PREFIX) and _overlap(waiting.key, topic.key):
                        self._take(waiting)
        self._begin()

    def notify_all(self) -> None:
        """Everything may have changed."""
        for topic in list(self._waiters):
            self._take(topic)
        self._begin()

    def __len__(self) -> int:
        return sum(len(waiters) for waiters in self._waiters.values())

    def _take(self, topic: Topic) -> None:
        """Who waits for `topic` is due, once: another change of it before they are woken has nobody more to wake."""
        waiters = self._waiters.pop(topic, None)
        if waiters:
            self._due.extend(waiters)
            self._forget_prefix(topic)

    def _begin(self) -> None:
        if self._due and not self._waking:
            self._waking = True
            self._wake_some()

    def _wake_some(self) -> None:
        for _ in range(min(WAKES_A_TURN, len(self._due))):
            future = self._due.popleft()
            if not future.done():
                future.set_result(None)
        self._waking = bool(self._due)
        if self._waking:
            asyncio.get_running_loop().call_soon(self._wake_some)

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
                self._forget_prefix(topic)

    def _forget_prefix(self, topic: Topic) -> None:
        """Nobody waits for `topic` any more."""
        if topic.kind == KEY_PREFIX:
            self._prefix_lengths[len(topic.key)] -= 1
            if not self._prefix_lengths[len(topic.key)]:
                del self._prefix_lengths[len(topic.key)]


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
