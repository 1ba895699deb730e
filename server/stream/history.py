"""The events of the last while, so that a subscriber that was away shortly goes on where it was. Pure.

Bound: `EVENTS_MAX` events; the oldest go first, and whoever was away longer starts from a snapshot.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from chowk.core.events import Event

EVENTS_MAX: Final = 16_384


class History:
    """Events in order of their index; complete for every index above `floor`."""

    def __init__(self, floor: int, events_max: int = EVENTS_MAX) -> None:
        self.floor = floor
        self._events: deque[Event] = deque()
        self._events_max = events_max

    def append(self, events: tuple[Event, ...]) -> None:
        """The events of the next commit."""
        self._events.extend(events)
        while len(self._events) > self._events_max:
            self.floor = self._events.popleft().index

    def since(self, index: int) -> list[Event] | None:
        """Events above `index`, in order; None when some of them are gone."""
        if index < self.floor:
            return None
        found = []
        for event in reversed(self._events):
            if event.index <= index:
                break
            found.append(event)
        found.reverse()
        return found
