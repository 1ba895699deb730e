"""Deadlines of many things with one timer a step, where thousands of timers would each weigh a kilobyte and be looked at by
the collector. Used by `connections` and `shared_reads`, for waits that are much longer than a step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import ceil
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

EXPIRED_A_TURN: Final = 128
"""Things told of their end in one turn of the loop."""


class Deadlines(Generic[K, V]):
    """Calls `expire(thing, value)` at the end of the step in which the thing's time ended. Bounded by its users."""

    def __init__(self, step_s: float, expire: Callable[[K, V], None]) -> None:
        self._step_s = step_s
        self._expire = expire
        self._slots: dict[int, dict[K, V]] = {}

    def add(self, thing: K, value: V, seconds: float) -> int:
        """`thing` has so long; the slot it is in, for `remove`: never 0."""
        loop = asyncio.get_running_loop()
        slot = ceil((loop.time() + seconds) / self._step_s)
        things = self._slots.get(slot)
        if things is None:
            things = self._slots[slot] = {}
            loop.call_at(slot * self._step_s, self._end, slot)
        things[thing] = value
        return slot

    def remove(self, thing: K, slot: int) -> None:
        """It needs no end any more."""
        things = self._slots.get(slot)
        if things is not None:
            things.pop(thing, None)

    def __len__(self) -> int:
        return sum(len(things) for things in self._slots.values())

    def _end(self, slot: int) -> None:
        things = self._slots[slot]
        for _ in range(min(EXPIRED_A_TURN, len(things))):
            self._expire(*things.popitem())
            if not things:
                break
        if things:
            asyncio.get_running_loop().call_soon(self._end, slot)
        else:
            del self._slots[slot]
