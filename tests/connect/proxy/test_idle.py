"""What a proxy does while nobody uses it: hundreds of them share a host."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from chowk.connect.control import Tap
from chowk.connect.proxy.access_log import AccessLog
from chowk.connect.proxy.taps import Taps
from chowk.connect.stats.observation import Observers, RequestRecord
from chowk.core.records.traffic import AccessLogs
from chowk.core.runtime.clock import ManualClock
from chowk.core.runtime.tasks import TaskOwner

SEEN = RequestRecord(
    at_s=1.0, direction="outbound", source="web", destination="db", method="GET", path="/", status=200, duration_s=0.1
)


class CountingClock(ManualClock):
    """Knows how often somebody slept."""

    sleeps = 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        await super().sleep(seconds)


async def refuse(tap_id: int, requests: tuple[RequestRecord, ...], missed: int) -> None:
    raise AssertionError(f"nothing was asked for: {tap_id}, {requests}, {missed}")


def test_access_log_and_taps_wake_nobody_without_requests_and_taps(tmp_path: Path) -> None:
    async def scene() -> None:
        clock, observers, tasks = CountingClock(), Observers(), TaskOwner("idle")
        path = tmp_path / "access.log"
        access_log, taps = AccessLog(observers, clock, random.Random(1)), Taps(observers, clock, refuse)
        access_log.use(AccessLogs(enabled=True, type="file", path=str(path)))
        tasks.spawn(access_log.run(), "access log")
        tasks.spawn(taps.run(), "taps")
        await clock.advance(60.0)
        assert clock.sleeps == 0

        observers.see(SEEN)
        taps.serve((Tap(id=1, ends_s=clock.wall() + 1.0),))
        await clock.advance(1.5)
        while not path.exists() or path.read_text().count("\n") != 1:
            await asyncio.sleep(0)
        await clock.advance(1.0)
        before = clock.sleeps
        await clock.advance(60.0)
        assert clock.sleeps == before
        await tasks.close()

    asyncio.run(asyncio.wait_for(scene(), 20.0))
