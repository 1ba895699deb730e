"""What was refused at a door: counted by reason, and logged so that a flood of it does not flood the log.

Called by every listener that strangers may reach.
"""

from __future__ import annotations

from typing import Final

import structlog

from chowk.core.runtime.clock import Clock

log = structlog.get_logger("chowk.refusals")

LOG_INTERVAL_S: Final = 10.0
"""At most one line a reason in this time; it says how many there were since the last."""


class Refusals:
    """`counts` has one entry a reason; reasons are a fixed set of ours, never a sender's text."""

    def __init__(self, what: str, clock: Clock) -> None:
        self._what = what
        self._clock = clock
        self.counts: dict[str, int] = {}
        self._logged: dict[str, tuple[float, int]] = {}

    def add(self, reason: str, sender: str, words: str, detail: str = "") -> None:
        """Something of `sender` (an address) was refused for `reason`; `words` tell a person, `detail` is what it said."""
        count = self.counts[reason] = self.counts.get(reason, 0) + 1
        now = self._clock.now()
        last_s, before = self._logged.get(reason, (float("-inf"), 0))
        if now - last_s >= LOG_INTERVAL_S:
            self._logged[reason] = (now, count)
            says = {"says": ascii(detail)} if detail else {}
            log.warning(f"{self._what} refused", why=words, sender=sender, times=count - before, **says)
