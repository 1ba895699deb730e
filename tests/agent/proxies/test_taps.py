from __future__ import annotations

import asyncio

from chowk.agent.proxies.taps import REQUESTS_MAX, TAPS_MAX, TapHub
from chowk.connect.control import Tapped
from chowk.connect.stats.observation import RequestFilter, RequestRecord
from chowk.core.runtime.clock import ManualClock

SEEN = RequestRecord(
    at_s=1.0, direction="outbound", source="web", destination="db", method="GET", path="/", status=200, duration_s=0.1
)


def batch(tap_id: int, count: int = 1, missed: int = 0) -> Tapped:
    return Tapped(proxy_id="p", instance="i", id=tap_id, requests=(SEEN,) * count, missed=missed)


def test_a_tap_is_served_by_the_sidecars_of_its_service_until_it_is_closed() -> None:
    hub, changes = TapHub(ManualClock(wall=100.0)), []
    hub.on_change = lambda: changes.append(1)
    reader = hub.open("web", RequestFilter(status=5), 10, 60.0)
    assert reader is not None
    assert [tap.ends_s for tap in hub.taps("web")] == [160.0]
    assert hub.taps("db") == ()
    hub.close(reader)
    hub.close(reader)
    assert hub.taps("web") == ()
    assert len(changes) == 2


def test_a_reader_gets_its_batches_and_no_others() -> None:
    async def scene() -> None:
        hub = TapHub(ManualClock())
        mine, other = hub.open("", RequestFilter(), 10, 60.0), hub.open("", RequestFilter(), 10, 60.0)
        assert mine is not None
        assert other is not None
        hub.receive(batch(mine.tap.id, 2))
        hub.receive(batch(99))
        assert await mine.read(5.0) == ([SEEN, SEEN], 0)
        assert await other.read(0.001) == ([], 0)

    asyncio.run(scene())


def test_a_reader_that_is_slow_loses_the_oldest_and_is_told_how_many() -> None:
    async def scene() -> None:
        hub = TapHub(ManualClock())
        reader = hub.open("", RequestFilter(), 10, 60.0)
        assert reader is not None
        hub.receive(batch(reader.tap.id, REQUESTS_MAX, missed=3))
        hub.receive(batch(reader.tap.id, 10))
        found, missed = await reader.read(5.0)
        assert (len(found), missed) == (REQUESTS_MAX, 13)

    asyncio.run(scene())


def test_only_so_many_look_at_once() -> None:
    hub = TapHub(ManualClock())
    readers = [hub.open("", RequestFilter(), 10, 60.0) for _ in range(TAPS_MAX)]
    assert all(readers)
    assert hub.open("", RequestFilter(), 10, 60.0) is None
