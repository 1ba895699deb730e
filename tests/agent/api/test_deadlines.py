"""Deadlines in steps: none is missed, none comes early, and many end in turns."""

from __future__ import annotations

import asyncio

from chowk.agent.api.deadlines import EXPIRED_A_TURN, Deadlines


def test_a_thing_ends_in_the_step_of_its_time_and_what_is_removed_does_not() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        ended: dict[str, float] = {}
        deadlines: Deadlines[str, int] = Deadlines(0.02, lambda thing, _value: ended.update({thing: loop.time()}))
        began = loop.time()
        slots = {name: deadlines.add(name, 1, seconds) for name, seconds in (("a", 0.01), ("b", 0.05), ("c", 0.01))}
        deadlines.remove("c", slots["c"])
        deadlines.remove("nobody", slots["b"] + 1)
        while len(ended) < 2:
            await asyncio.sleep(0.005)
        assert ended["a"] - began >= 0.01
        assert ended["b"] - began >= 0.05
        assert set(ended) == {"a", "b"}
        assert len(deadlines) == 0

    asyncio.run(body())


def test_many_end_in_turns_and_may_begin_anew_meanwhile() -> None:
    async def body() -> None:
        ended: list[int] = []

        def end(thing: int, again: bool) -> None:
            ended.append(thing)
            if again:
                deadlines.add(thing, False, 0.001)

        deadlines: Deadlines[int, bool] = Deadlines(0.01, end)
        count = EXPIRED_A_TURN * 2
        for number in range(count):
            deadlines.add(number, True, 0.005)
        while not ended:
            await asyncio.sleep(0)
        assert len(ended) <= EXPIRED_A_TURN
        while len(ended) < 2 * count:
            await asyncio.sleep(0.005)
        assert sorted(ended) == sorted([*range(count)] * 2)
        assert len(deadlines) == 0

    asyncio.run(body())
