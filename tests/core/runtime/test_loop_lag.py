"""How long an event loop was held up, and by whom."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from chowk.core.runtime.loop_lag import LOG_INTERVAL_S, LagTally, LoopLag


def test_what_the_machine_kept_from_us_is_no_block_of_ours() -> None:
    tally = LagTally()
    assert tally.add(0.2, 0.18, 100.0) is None
    stats = tally.stats()
    assert float(stats["stalled_max"]) == pytest.approx(0.2)
    assert float(stats["blocked_max"]) == pytest.approx(0.02)
    assert (stats["blocked_long"], stats["bucket_0.025"], stats["bucket_0.25"]) == ("0", "1", "0")


def test_more_waiting_than_lag_is_no_negative_block() -> None:
    tally = LagTally()
    tally.add(0.01, 0.03, 0.0)
    tally.add(-0.001, 0.0, 0.0)
    assert (tally.blocked_sum_s, tally.blocked_max_s) == (0.0, 0.0)


def test_long_blocks_are_told_once_an_interval_with_the_longest_and_their_number() -> None:
    tally = LagTally()
    assert tally.add(0.06, 0.0, 100.0) == {"longest_ms": 60.0, "times": 1}
    assert tally.add(0.3, 0.0, 101.0) is None
    assert tally.add(0.07, 0.0, 102.0) is None
    assert tally.add(0.0, 0.0, 100.0 + LOG_INTERVAL_S) == {"longest_ms": 300.0, "times": 2}
    assert tally.add(0.0, 0.0, 100.0 + 2 * LOG_INTERVAL_S) is None
    assert tally.over == 3


def test_each_tick_is_in_one_bucket() -> None:
    tally = LagTally()
    for late in (0.0, 0.05, 0.051, 60.0):
        tally.add(late, 0.0, 0.0)
    buckets = {name: count for name, count in tally.stats().items() if name.startswith("bucket_") and count != "0"}
    assert buckets == {"bucket_0.005": "1", "bucket_0.05": "1", "bucket_0.1": "1", "bucket_+Inf": "1"}


def test_a_callback_that_sleeps_in_the_loop_is_seen_and_told() -> None:
    async def main() -> LagTally:
        lag = LoopLag()
        lag.start()
        time.sleep(0.2)  # What is tested: nothing else can run meanwhile.
        while not lag.tally.ticks:
            await asyncio.sleep(0)
        lag.close()
        lag.close()
        return lag.tally

    with capture_logs() as logs:
        tally = asyncio.run(main())
    assert tally.blocked_max_s > 0.1
    assert [line["event"] for line in logs] == ["the event loop was blocked"]
