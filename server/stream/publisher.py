"""Carries events to subscribers: a snapshot, then live, a heartbeat when nothing happens. Told of commits by the wiring.

`Source` is what the state store shows of itself here, so that this room does not know tables.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import groupby
from typing import Final, Protocol

from chowk.core.errors import TooManyRequests
from chowk.core.events import INTENTIONS, Event, Payload, StreamFrame, Topic
from chowk.core.records.intention import ANY
from chowk.server.stream.history import History
from chowk.server.stream.subscription import Subscription

HEARTBEAT_S: Final = 5.0
SUBSCRIPTIONS_MAX: Final = 65_536


class Source(Protocol):
    """The store, as a stream sees it."""

    @property
    def index(self) -> int:
        """The last applied index."""
        ...

    @property
    def history(self) -> str:
        """Which store this is, "" while that is not known: then nobody resumes."""
        ...

    def canonical(self, topic: Topic) -> Topic:
        """The topic under which the events of `topic` are published."""
        ...

    def items(self, topic: Topic) -> dict[str, Payload]:
        """The items of a canonical topic now."""
        ...


class Publisher:
    """Subscriptions by canonical topic. All on the event loop's thread."""

    def __init__(self, source: Source, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._source = source
        self._heartbeat_s = heartbeat_s
        self._history = History(source.index)
        self._followers: dict[Topic, dict[Subscription, asyncio.Event]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def publish(self, index: int, events: tuple[Event, ...]) -> None:
        """The events of the commit at `index`, ordered by topic."""
        self._history.append(events)
        by_topic: dict[Topic, list[Event]] = {}
        for event in events:
            for topic in self._readers_of(event.topic):
                by_topic.setdefault(topic, []).append(event)
        for topic, found in by_topic.items():
            for subscription, wake in self._followers[topic].items():
                subscription.push(index, tuple(found))
                wake.set()

    def reset(self) -> None:
        """The store was replaced: everyone starts from a snapshot."""
        self._history = History(self._source.index)
        for followers in self._followers.values():
            for subscription, wake in followers.items():
                subscription.clear()
                subscription.overrun = True
                wake.set()

    async def subscribe(self, topic: Topic, index: int, history: str) -> AsyncGenerator[StreamFrame, None]:
        """Frames for ever; close the iterator to end. TooManyRequests over SUBSCRIPTIONS_MAX."""
        if self._count >= SUBSCRIPTIONS_MAX:
            raise TooManyRequests(f"over {SUBSCRIPTIONS_MAX} subscriptions on this server")
        canonical = self._source.canonical(topic)
        subscription, wake = Subscription(topic, self._source.history), asyncio.Event()
        missed = self._missed(canonical, index, history)
        subscription.overrun = missed is None
        for at, events in groupby(missed or (), key=lambda event: event.index):
            subscription.push(at, tuple(events))
        self._followers.setdefault(canonical, {})[subscription] = wake
        self._count += 1
        try:
            if missed is not None:
                yield StreamFrame(index=index, history=subscription.history)
            async for frame in self._frames(subscription, canonical, wake):
                yield frame
        finally:
            self._forget(canonical, subscription)

    async def _frames(
        self, subscription: Subscription, canonical: Topic, wake: asyncio.Event
    ) -> AsyncGenerator[StreamFrame, None]:
        while True:
            wake.clear()
            subscription.history = self._source.history
            if subscription.overrun:
                subscription.overrun = False
                subscription.clear()
                for part in subscription.snapshot(self._source.index, self._source.items(canonical)):
                    yield part
                    if subscription.overrun:
                        break
                continue
            frame = subscription.take()
            if frame is not None:
                yield frame
                continue
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await wake.wait()
            except TimeoutError:
                if subscription.waiting or subscription.overrun:
                    continue  # an index must never be promised ahead of what it brings
                yield StreamFrame(index=self._source.index, history=subscription.history)

    def _missed(self, canonical: Topic, index: int, history: str) -> list[Event] | None:
        """What a subscriber that was at `index` has missed; None when it must start from a snapshot."""
        ours = self._source.history
        if not index or not ours or history != ours or index > self._source.index:
            return None
        events = self._history.since(index)
        if events is None:
            return None
        return [event for event in events if _carries(canonical, event.topic)]

    def _readers_of(self, topic: Topic) -> list[Topic]:
        """The followed topics that carry events of `topic`: an intention towards any service is everyone's."""
        if topic.kind == INTENTIONS and topic.key == ANY:
            return [each for each in self._followers if each.kind == INTENTIONS]
        return [topic] if topic in self._followers else []

    def _forget(self, canonical: Topic, subscription: Subscription) -> None:
        followers = self._followers.get(canonical, {})
        if followers.pop(subscription, None) is not None:
            self._count -= 1
        if not followers:
            self._followers.pop(canonical, None)


def _carries(followed: Topic, published: Topic) -> bool:
    return followed == published or (followed.kind == published.kind == INTENTIONS and published.key == ANY)
