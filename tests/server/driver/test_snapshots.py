"""When a snapshot is due: by the tuning, and before that when a restart would have too much to read."""

from __future__ import annotations

import asyncio

from chowk.core.runtime.clock import ManualClock
from chowk.core.server_options import RaftTuning
from chowk.server.driver.snapshots import LOG_BYTES, LOG_ENTRIES, Snapshots
from chowk.server.storage.memory import MemoryStorage

TUNING = RaftTuning(snapshot_threshold=100, snapshot_interval_s=30.0)


def test_a_snapshot_is_due_after_enough_entries_and_time_or_when_the_log_is_very_long() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        snapshots = Snapshots(MemoryStorage(), TUNING, clock)
        assert not snapshots.is_due(1000, 1000 + LOG_ENTRIES - 1)
        assert snapshots.is_due(1000, 1000 + LOG_ENTRIES)
        snapshots.log_bytes = LOG_BYTES
        assert snapshots.is_due(1000, 1001)
        assert not snapshots.is_due(1000, 1000)
        snapshots.log_bytes = 0
        assert not snapshots.is_due(1000, 1100)
        await clock.advance(30)
        assert snapshots.is_due(1000, 1100)
        assert not snapshots.is_due(1000, 1099)
        snapshots.begin()
        assert not snapshots.is_due(1000, 1000 + LOG_ENTRIES)
        await snapshots.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))
