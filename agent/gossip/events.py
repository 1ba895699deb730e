"""User events: a Lamport clock, each delivered once, those to be coalesced held for a moment.

Called by `core`. What was seen is remembered for the last EVENT_TIMES Lamport times; whatever is older than that is dropped,
not delivered twice.
"""

from __future__ import annotations

from typing import Final

from chowk.agent.gossip.effects import UserEvent
from chowk.agent.gossip.errors import GossipError
from chowk.agent.gossip.messages import MAX_COUNTER, Broadcast
from chowk.agent.gossip.post import Post
from chowk.agent.gossip.settings import MAX_NAME_BYTES, MAX_PAYLOAD_BYTES
from chowk.agent.gossip.timers import TimerQueue

EVENT_TIMES: Final = 512
"""Lamport times remembered."""

MAX_EVENTS_A_TIME: Final = 64
"""Events of one Lamport time; more are dropped and counted."""

MAX_COALESCED: Final = 64
"""Names of events held back at a time; those of more names are delivered at once."""

MAX_REPLAYED: Final = 64
"""Recent events told in a state sync, for those who missed their packets."""


class Events:
    """`origin` is our own name."""

    def __init__(self, origin: str, coalesce_s: float, post: Post, timers: TimerQueue) -> None:
        self._origin = origin
        self._coalesce_s = coalesce_s
        self._post = post
        self._timers = timers
        self._seen: dict[int, list[Broadcast]] = {}
        self._floor = 0
        self._held: dict[str, Broadcast] = {}
        self.time = 0

    def send(self, name: str, payload: bytes, now: float, coalesce: bool) -> None:
        """A new one, of ours, to everybody. GossipError for a name or payload over the limit."""
        if not 0 < len(name.encode()) <= MAX_NAME_BYTES:
            raise GossipError(f"a name of {len(name.encode())} bytes: it must have 1 to {MAX_NAME_BYTES}")
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise GossipError(f"a payload of {len(payload)} bytes is over the limit of {MAX_PAYLOAD_BYTES}")
        self.time = min(self.time + 1, MAX_COUNTER)
        self.receive(Broadcast(self.time, self._origin, 0, name, payload, coalesce), now)

    def receive(self, event: Broadcast, now: float) -> None:
        """One that came by: passed on and delivered, if it is news."""
        if event.time <= self._floor:
            self._post.count("events_too_old")
            return
        seen = self._seen.setdefault(event.time, [])
        if event in seen:
            return
        if len(seen) >= MAX_EVENTS_A_TIME:
            self._post.count("events_dropped")
            return
        seen.append(event)
        self.time = max(self.time, event.time)
        if len(self._seen) > EVENT_TIMES:
            self._floor = min(self._seen)
            del self._seen[self._floor]
        self._post.broadcast(f"event {event.time} {event.origin} {event.name}", event)
        self._deliver(event, now)

    def recent(self) -> tuple[Broadcast, ...]:
        """The latest, for a state sync."""
        times = sorted(self._seen)[-MAX_REPLAYED:]
        events = [event for time in times for event in self._seen[time]]
        return tuple(events[-MAX_REPLAYED:])

    def pass_over(self, time: int) -> None:
        """We have just joined: what happened before is none of ours."""
        self.time = max(self.time, time)
        self._floor = max(self._floor, time)
        for old in [seen for seen in self._seen if seen <= self._floor]:
            del self._seen[old]

    def _deliver(self, event: Broadcast, now: float) -> None:
        if not event.coalesce:
            self._tell(event)
            return
        held = self._held.get(event.name)
        if held is not None:
            self._held[event.name] = max(held, event, key=lambda one: one.time)
        elif len(self._held) < MAX_COALESCED:
            self._held[event.name] = event
            self._timers.schedule(now + self._coalesce_s, lambda _: self._tell(self._held.pop(event.name)))
        else:
            self._tell(event)

    def _tell(self, event: Broadcast) -> None:
        self._post.tell(UserEvent(event.name, event.payload, event.time, event.origin))
