"""A flood of what is refused is counted whole and logged in lines a person can read."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from chowk.core.runtime.clock import ManualClock
from chowk.core.runtime.refusals import LOG_INTERVAL_S, Refusals


def test_a_flood_is_one_line_a_reason_until_the_interval_is_over() -> None:
    async def body() -> None:
        clock = ManualClock()
        refusals = Refusals("gossip", clock)
        with capture_logs() as logs:
            for _ in range(1000):
                refusals.add("malformed", "10.0.0.9:1", "no packet")
                refusals.add("keys-differ", "10.0.0.9:1", "another key", "\x1b[2Jparis")
            await clock.advance(LOG_INTERVAL_S)
            refusals.add("malformed", "10.0.0.8:1", "no packet")
        assert refusals.counts == {"malformed": 1001, "keys-differ": 1000}
        assert [(line["sender"], line["why"], line["times"]) for line in logs] == [
            ("10.0.0.9:1", "no packet", 1),
            ("10.0.0.9:1", "another key", 1),
            ("10.0.0.8:1", "no packet", 1000),
        ]
        assert "\x1b" not in logs[1]["says"]

    asyncio.run(body())
