"""What a leader knows of another server's log, and how much it has under way to it. Called by replication."""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

from chowk.server.raft.settings import Settings

REFUSALS_MAX: Final = 3
"""A server that refuses what it acknowledged so often, and acknowledges nothing between, has lost it: one such answer may be
old, but not each of them."""


class Pace(enum.StrEnum):
    """PROBE: one message at a time, to find where the logs agree. REPLICATE: pipelined. SNAPSHOT: wait until it has one."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One server's. `match` is durable there; `next` is what to send next; `told` is the highest index that it was sent
    the news of that it is committed; `contact_s` is when it was last heard, `round` the latest it answered. `relapses` is
    how often it had lost what it acknowledged."""

    def __init__(self, next_index: int, now: float) -> None:
        self.pace = Pace.PROBE
        self.match = 0
        self.next = next_index
        self.told = 0
        self.contact_s = now
        self.round = 0
        self.probing = False
        self.snapshot_index = 0
        self.installs_until_s = 0.0
        self.relapses = 0
        self._refusals = 0
        self._inflight: deque[tuple[int, int]] = deque()
        self._inflight_bytes = 0

    @property
    def inflight(self) -> int:
        """Messages with entries that are under way."""
        return len(self._inflight)

    def is_paused(self, settings: Settings) -> bool:
        """Whether no entries may be sent now."""
        if self.pace is Pace.REPLICATE:
            return (
                self._inflight_bytes >= settings.inflight_bytes_max
                or len(self._inflight) >= settings.inflight_messages_max
            )
        return self.pace is Pace.SNAPSHOT or self.probing

    def sent(self, last_index: int, size: int) -> None:
        """Entries of `size` bytes up to `last_index` went out."""
        if self.pace is Pace.PROBE:
            self.probing = True
        else:
            self.next = last_index + 1
            self._inflight.append((last_index, size))
            self._inflight_bytes += size

    def probe(self) -> None:
        """Fall back: find out again where the logs agree."""
        self.pace = Pace.PROBE
        self.next = self.match + 1
        self._forget_inflight()

    @property
    def needs_what_follows(self) -> bool:
        """Whether a snapshot was sent to it that it did not acknowledge yet."""
        return self.pace is Pace.SNAPSHOT or self.snapshot_index > self.match

    def is_installing(self, agreement: int, now: float) -> bool:
        """Whether a refusal that agrees up to `agreement` may be from before the snapshot that arrived there is in force: to
        send the next one for it would begin all over. Only for a while: the snapshot may be lost there."""
        return agreement < self.snapshot_index and self.snapshot_index > self.match and now < self.installs_until_s

    def forget_snapshot(self) -> None:
        """It is silent: do not keep the log for it, unless the snapshot's bytes are still on their way."""
        if self.pace is not Pace.SNAPSHOT:
            self.snapshot_index = 0

    def await_contact(self) -> None:
        """Send nothing before the next heartbeat is answered."""
        self.snapshot_index = 0
        self.probe()
        self.probing = True

    def await_snapshot(self, index: int) -> None:
        """A snapshot at `index` is on its way."""
        self.pace = Pace.SNAPSHOT
        self.snapshot_index = index
        self._forget_inflight()

    def _forget_inflight(self) -> None:
        self.probing = False
        self._inflight.clear()
        self._inflight_bytes = 0

    def acknowledge(self, match: int, agreed: int) -> None:
        """The server has everything up to `match` durably, and agrees with this log up to `agreed`, which may be further:
        what is between is being written there."""
        while self._inflight and self._inflight[0][0] <= match:
            self._inflight_bytes -= self._inflight.popleft()[1]
        self._refusals = 0
        self.match = max(self.match, match)
        self.next = max(self.next, self.match + 1)
        if self.pace is Pace.PROBE:
            self.resume(agreed)

    def resume(self, agreed: int) -> None:
        """The logs agree up to `agreed`: from there on, pipeline."""
        self.pace = Pace.REPLICATE
        self.next = max(self.match, agreed) + 1
        self._forget_inflight()

    def refuse(self, prev_index: int, agreement: int) -> bool:
        """The server does not have `prev_index`. False when that is an old answer that says nothing now."""
        if self.pace is Pace.SNAPSHOT:
            return False
        if 0 < prev_index == self.match:
            return self._relapse(min(agreement, prev_index - 1))
        if prev_index <= self.match:
            return False
        if self.pace is Pace.PROBE and prev_index != self.next - 1:
            return False
        self.probe()
        self.next = max(self.match, min(agreement, prev_index - 1)) + 1
        return True

    def _relapse(self, agreement: int) -> bool:
        """Begin again from what it still has: its disk lost the end of the log, or an old copy of its folder was put back.
        That breaks what Raft is built on, but waiting would leave it behind for ever, and its part in the majority empty."""
        self._refusals += 1
        if self._refusals < REFUSALS_MAX:
            return False
        self._refusals = 0
        self.relapses += 1
        self.match = self.told = agreement
        self.probe()
        return True
