"""Wake-ups: all who wait for what changed, each once, and never so many at a time that the loop stands still."""

from __future__ import annotations

import asyncio

from chowk.core.events import KEY, KEY_PREFIX, KEY_TREE, Topic
from chowk.server.stream.wakeups import WAKES_A_TURN, Wakeups

WEB = Topic(kind="health", key="web")


def test_many_waiters_of_one_thing_are_woken_in_turns() -> None:
    async def body() -> None:
        wakeups = Wakeups()
        count = WAKES_A_TURN * 3 + 1
        waiting = [asyncio.ensure_future(wakeups.wait((WEB,), 30)) for _ in range(count)]
        await asyncio.sleep(0)
        woken = []
        for task in waiting:
            task.add_done_callback(woken.append)
        wakeups.notify((WEB,))
        counts = []
        while len(woken) < count:
            await asyncio.sleep(0)
            counts.append(len(woken))
        steps = [later - earlier for earlier, later in zip([0, *counts], counts, strict=False)]
        assert max(steps) <= WAKES_A_TURN
        assert all(task.result() for task in waiting)
        assert len(wakeups) == 0

    asyncio.run(body())


def test_who_begins_to_wait_while_others_are_woken_waits_for_the_next_change() -> None:
    async def body() -> None:
        wakeups = Wakeups()
        first = [asyncio.ensure_future(wakeups.wait((WEB,), 30)) for _ in range(WAKES_A_TURN * 2)]
        await asyncio.sleep(0)
        wakeups.notify((WEB,))
        late = asyncio.ensure_future(wakeups.wait((WEB,), 30))
        await asyncio.gather(*first)
        assert not late.done()
        wakeups.notify((WEB,))
        assert await late

    asyncio.run(body())


def test_a_change_of_a_key_or_a_tree_wakes_each_waiter_of_it_and_forgets_the_prefixes() -> None:
    async def body() -> None:
        wakeups = Wakeups()
        key, prefix, other = (
            Topic(kind=KEY, key="a/b"),
            Topic(kind=KEY_PREFIX, key="a/"),
            Topic(kind=KEY_PREFIX, key="z"),
        )
        for changed in (key, Topic(kind=KEY_TREE, key="a")):
            waiting = [asyncio.ensure_future(wakeups.wait((topic,), 30)) for topic in (key, prefix, prefix)]
            apart = asyncio.ensure_future(wakeups.wait((other,), 30))
            await asyncio.sleep(0)
            wakeups.notify((changed,))
            assert await asyncio.gather(*waiting) == [True] * 3
            assert not apart.done()
            wakeups.notify_all()
            assert await apart
            assert len(wakeups) == 0

    asyncio.run(body())


def test_a_waiter_whose_time_ends_leaves_nothing_behind() -> None:
    async def body() -> None:
        wakeups = Wakeups()
        assert not await wakeups.wait((WEB, Topic(kind=KEY_PREFIX, key="a")), 0.01)
        assert len(wakeups) == 0
        wakeups.notify((Topic(kind=KEY, key="ab"), WEB))

    asyncio.run(body())
