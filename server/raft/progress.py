"""What a leader knows of another server's log, and how much it has under way to it. Called by replication."""

from __future__ import annotations

import enum
from collections import deque


class Pace(enum.StrEnum):
    """PROBE: one message at a time, to find where the logs agree. REPLICATE: pipelined. SNAPSHOT: wait until it has one."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One server's. `match` is durable there; `next` is what to send next; `contact_s` when it was last heard."""

    def __init__(self, next_index: int, now: float) -> None:
        self.pace = Pace.PROBE
        self.match = 0
        self.next = next_index
        self.contact_s = now
        self.round = 0
        self.probing = False
        self.snapshot_index = 0
        self._inflight: deque[int] = deque()

    @property
    def inflight(self) -> int:
        """Messages with entries that are under way."""
        return len(self._inflight)

    def is_paused(self, inflight_max: int) -> bool:
        """Whether no entries may be sent now."""
        if self.pace is Pace.PROBE:
            return self.probing
        return self.pace is Pace.SNAPSHOT or len(self._inflight) >= inflight_max

    def sent(self, last_index: int) -> None:
        """Entries up to `last_index` went out."""
        if self.pace is Pace.PROBE:
            self.probing = True
        else:
            self.next = last_index + 1
            self._inflight.append(last_index)

    def probe(self) -> None:
        """Fall back: find out again where the logs agree."""
        self.pace = Pace.PROBE
        self.next = self.match + 1
        self.probing = False
        self._inflight.clear()

    def await_snapshot(self, index: int) -> None:
        """A snapshot at `index` is on its way."""
        self.pace = Pace.SNAPSHOT
        self.snapshot_index = index
        self._inflight.clear()

    def acknowledge(self, match: int) -> bool:
        """The server has everything up to `match`. Whether that is news, or opens the way."""
        while self._inflight and self._inflight[0] <= match:
            self._inflight.popleft()
        news = match > self.match
        self.match = max(self.match, match)
        self.next = max(self.next, self.match + 1)
        if self.pace is Pace.PROBE or (self.pace is Pace.SNAPSHOT and self.match >= self.snapshot_index):
            self.pace = Pace.REPLICATE
            self.next = self.match + 1
            self.probing = False
            return True
        return news

    def refuse(self, prev_index: int, agreement: int) -> bool:
        """The server does not have `prev_index`. False when that is an old answer that says nothing now."""
        if self.pace is Pace.SNAPSHOT or prev_index <= self.match:
            return False
        if self.pace is Pace.PROBE and prev_index != self.next - 1:
            return False
        self.probe()
        self.next = max(self.match, min(agreement, prev_index - 1)) + 1
        return True
