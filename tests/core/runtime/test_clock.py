"""The manual clock that other tests trust."""

from __future__ import annotations

import asyncio

from chowk.core.runtime.clock import ManualClock


def test_sleepers_wake_in_order_at_their_moment() -> None:
    async def main() -> None:
        clock = ManualClock(now=0.0)
        woken: list[tuple[str, float]] = []

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append((name, clock.now()))

        tasks = [asyncio.ensure_future(sleeper("b", 2)), asyncio.ensure_future(sleeper("a", 1))]
        await clock.advance(1.5)
        assert woken == [("a", 1.0)]
        await clock.advance(1)
        assert woken == [("a", 1.0), ("b", 2.0)]
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_the_wall_clock_jumps_alone() -> None:
    clock = ManualClock(now=5.0, wall=100.0)
    clock.jump_wall(-50)
    assert (clock.now(), clock.wall()) == (5.0, 50.0)
