"""Packets that were read and not answered yet, and which of them to give up. A pure core, called by the UDP listener.

While there is time for all, their order does not matter. Under overload the newest are answered first, and what waited
past a deadline is dropped, oldest first: its client has asked again or left, and an answer for it costs one for a client
that still waits. A burst may wait for LATE_S; once the backlog has stood for PATIENCE_S, so that it is no burst, only for
OVERLOAD_LATE_S. (Maurer, "Fail at Scale", ACM Queue 2015: adaptive LIFO and controlled delay.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

PACKETS_MAX = 4096
PATIENCE_S = 0.5
LATE_S = 1.0
OVERLOAD_LATE_S = 0.010

Peer = tuple[Any, ...]
Packet = tuple[bytes, Peer]


class Backlog:
    """`dropped` counts packets given up since the start."""

    def __init__(self) -> None:
        self.dropped = 0
        self._batches: deque[tuple[float, deque[Packet]]] = deque()
        self._count = 0
        self._standing_since = -1.0

    def __len__(self) -> int:
        return self._count

    def add(self, packets: Sequence[Packet], now: float) -> None:
        """Put in what was read just now, oldest first; beyond PACKETS_MAX the oldest of all are dropped."""
        if packets:
            self._batches.append((now, deque(packets)))
            self._count += len(packets)
        while self._count > PACKETS_MAX:
            self._drop_oldest()

    def newest(self) -> Packet:
        """Take out the packet that came last. IndexError when there is none."""
        batch = self._batches[-1][1]
        packet = batch.pop()
        self._count -= 1
        if not batch:
            self._batches.pop()
        return packet

    def expire(self, now: float) -> None:
        """Called when the time for answering is over: drop what waited for too long."""
        if not self._count:
            self._standing_since = -1.0
            return
        if self._standing_since < 0:
            self._standing_since = now
        late_s = OVERLOAD_LATE_S if self.is_standing(now) else LATE_S
        while self._batches and self._batches[0][0] < now - late_s:
            late = len(self._batches.popleft()[1])
            self._count -= late
            self.dropped += late

    def is_standing(self, now: float) -> bool:
        """Has something waited all the time for PATIENCE_S, so that this is overload rather than a burst?"""
        return self._standing_since >= 0 and now - self._standing_since > PATIENCE_S

    def _drop_oldest(self) -> None:
        batch = self._batches[0][1]
        batch.popleft()
        self._count -= 1
        self.dropped += 1
        if not batch:
            self._batches.popleft()
