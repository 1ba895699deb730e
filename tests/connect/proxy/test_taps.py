from __future__ import annotations

import asyncio

from msgspec.structs import replace

from chowk.connect.control import Tap
from chowk.connect.proxy.taps import FLUSH_S, TAPS_MAX, Taps
from chowk.connect.stats.observation import Observers, RequestFilter, RequestRecord
from chowk.core.errors import Unavailable
from chowk.core.runtime.clock import ManualClock
from chowk.core.runtime.tasks import TaskOwner

SEEN = RequestRecord(
    at_s=1.0, direction="outbound", source="web", destination="db", method="GET", path="/", status=200, duration_s=0.1
)


class Stage:
    """Taps over a clock that the test moves; `sent` is what reached the agent."""

    def __init__(self) -> None:
        self.clock = ManualClock(wall=1000.0)
        self.observers = Observers()
        self.sent: list[tuple[int, int, int]] = []
        self.agent_gone = False
        self.taps = Taps(self.observers, self.clock, self.send)
        self.tasks = TaskOwner("taps")

    async def send(self, tap_id: int, requests: tuple[RequestRecord, ...], missed: int) -> None:
        if self.agent_gone:
            raise Unavailable("the agent is not there")
        self.sent.append((tap_id, len(requests), missed))

    async def flush(self) -> None:
        await asyncio.sleep(0)
        await self.clock.advance(FLUSH_S)


def play(scene: object) -> None:
    async def main() -> None:
        stage = Stage()
        stage.tasks.spawn(stage.taps.run(), "run")
        await scene(stage)  # type: ignore[operator]
        await stage.tasks.close()

    asyncio.run(main())


def test_nobody_observes_before_and_after_a_tap() -> None:
    async def scene(stage: Stage) -> None:
        assert not stage.observers.active
        stage.taps.serve((Tap(id=1, ends_s=2000.0),))
        assert stage.observers.active
        stage.taps.serve(())
        assert not stage.observers.active

    play(scene)


def test_each_tap_gets_what_its_filter_takes() -> None:
    async def scene(stage: Stage) -> None:
        stage.taps.serve((Tap(id=1, ends_s=2000.0), Tap(id=2, filter=RequestFilter(status=5), ends_s=2000.0)))
        stage.observers.see(SEEN)
        stage.observers.see(replace(SEEN, status=503))
        await stage.flush()
        assert stage.sent == [(1, 2, 0), (2, 1, 0)]

    play(scene)


def test_what_is_over_the_rate_is_counted_and_the_next_second_is_another() -> None:
    async def scene(stage: Stage) -> None:
        stage.taps.serve((Tap(id=1, per_s=3, ends_s=2000.0),))
        for _ in range(10):
            stage.observers.see(SEEN)
        await stage.flush()
        await stage.clock.advance(1.0)
        stage.observers.see(SEEN)
        await stage.flush()
        assert stage.sent == [(1, 3, 7), (1, 1, 0)]

    play(scene)


def test_a_tap_lapses_by_itself_though_its_agent_is_gone() -> None:
    async def scene(stage: Stage) -> None:
        stage.agent_gone = True
        stage.taps.serve((Tap(id=1, ends_s=1001.0),))
        stage.observers.see(SEEN)
        await stage.flush()
        assert stage.observers.active
        await stage.clock.advance(1.0)
        await stage.flush()
        assert not stage.observers.active
        assert stage.sent == []

    play(scene)


def test_of_too_many_taps_the_first_are_served() -> None:
    async def scene(stage: Stage) -> None:
        stage.taps.serve(tuple(Tap(id=each, ends_s=2000.0) for each in range(TAPS_MAX + 2)))
        stage.observers.see(SEEN)
        await stage.flush()
        assert [tap_id for tap_id, _count, _missed in stage.sent] == list(range(TAPS_MAX))

    play(scene)
