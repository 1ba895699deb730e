"""One subscriber's queue: what it has not been sent yet. Pure but for the wake-up; made and filled by `publisher`.

Bound: `PENDING_MAX` events. Over it, what is pending is thrown away and the subscriber is reset to a snapshot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from chowk.core.events import Event, InstanceItem, Payload, StreamFrame, Topic

PENDING_MAX: Final = 4096
FRAME_EVENTS_MAX: Final = 32
FRAME_OUTPUT_CHARS: Final = 4 * 1024 * 1024
"""Of checks' outputs in one frame of a snapshot: the part of an item that can be large, and a frame of RPC has its limit."""


class Subscription:
    """`topic` is the one asked for, under which events are handed on. `wake` is called when there is something to take."""

    def __init__(self, topic: Topic, history: str) -> None:
        self.topic = topic
        self.history = history
        self.overrun = False
        self._pending: deque[tuple[int, tuple[Event, ...]]] = deque()
        self._count = 0

    def push(self, index: int, events: tuple[Event, ...]) -> None:
        """The topic's events of a commit."""
        if self.overrun:
            return
        self._pending.append((index, events))
        self._count += len(events)
        if self._count > PENDING_MAX:
            self.overrun = True
            self.clear()

    def clear(self) -> None:
        """Forget what is pending."""
        self._pending.clear()
        self._count = 0

    @property
    def waiting(self) -> bool:
        """True when there is something to take."""
        return bool(self._pending)

    def take(self) -> StreamFrame | None:
        """The next live frame: whole commits only, so that its index never promises more than it brings."""
        events: list[Event] = []
        index = 0
        while self._pending and (not events or len(events) + len(self._pending[0][1]) <= FRAME_EVENTS_MAX):
            index, more = self._pending.popleft()
            self._count -= len(more)
            events.extend(self._named(event) for event in more)
        return StreamFrame(index=index, events=tuple(events), history=self.history) if events else None

    def snapshot(self, index: int, items: dict[str, Payload]) -> list[StreamFrame]:
        """The frames that replace all the subscriber knows by `items`."""
        events = [Event(topic=self.topic, key=key, index=index, payload=payload) for key, payload in items.items()]
        parts = list(_cut(events)) or [()]
        return [
            StreamFrame(
                index=index,
                events=part,
                reset=number == 0,
                snapshot_done=number == len(parts) - 1,
                history=self.history,
            )
            for number, part in enumerate(parts)
        ]

    def _named(self, event: Event) -> Event:
        return event if event.topic == self.topic else msgspec.structs.replace(event, topic=self.topic)


def _cut(events: Iterable[Event]) -> Iterator[tuple[Event, ...]]:
    part: list[Event] = []
    output = 0
    for event in events:
        part.append(event)
        if isinstance(event.payload, InstanceItem):
            output += sum(len(check.output) for check in event.payload.instance.checks)
        if len(part) == FRAME_EVENTS_MAX or output >= FRAME_OUTPUT_CHARS:
            yield tuple(part)
            part, output = [], 0
    if part:
        yield tuple(part)
