"""What was refused at gossip's ports: counted by reason, and logged so that a flood of it does not flood the log.

Called by `transport` for every packet, stream and connection that is not for us.
"""

from __future__ import annotations

from typing import Final

import structlog

from chowk.core.runtime.clock import Clock

log = structlog.get_logger("chowk.gossip")

LOG_INTERVAL_S: Final = 10.0
"""At most one line a reason in this time; it says how many there were since the last."""


class Refusals:
    """`counts` has one entry a reason; reasons are a fixed set of ours, never a sender's text."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.counts: dict[str, int] = {}
        self._logged: dict[str, tuple[float, int]] = {}

    def add(self, reason: str, sender: str, words: str, detail: str = "") -> None:
        """Something of `sender` (an address) was refused for `reason`; `detail` is what it said of itself."""
        count = self.counts[reason] = self.counts.get(reason, 0) + 1
        now = self._clock.now()
        last_s, before = self._logged.get(reason, (float("-inf"), 0))
        if now - last_s < LOG_INTERVAL_S:
            return
        self._logged[reason] = (now, count)
        log.warning(
            "gossip refused",
            why=words,
            sender=sender,
            times=count - before,
            **({"says": ascii(detail)} if detail else {}),
        )
