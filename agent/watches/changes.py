"""The loop around a watch's core: ask, hand on what is news, wait after failures. Called by `watches` and `chowk watch`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from chowk.agent.watches.plan import Answer, Ask, Change, WatchFailed, WatchPlan
from chowk.core.runtime.clock import Clock

Fetch = Callable[[Ask], Awaitable[Answer]]
"""Makes the request; WatchFailed when there is no answer."""

PAUSE_S: Final = 0.1
"""At least this long between two questions whose answers were no news: some endpoint might not block."""


async def changes(
    plan: WatchPlan, fetch: Fetch, clock: Clock, tell: Callable[[WatchFailed, float], None]
) -> AsyncIterator[Change]:
    """The news of a watch, for ever. While the caller handles one, nothing is asked: what changes meanwhile is one more
    piece of news after it. `tell(failure, seconds)` is called before a wait, and may raise."""
    while True:
        asked = clock.now()
        try:
            change = plan.receive(await fetch(plan.ask()))
        except WatchFailed as failure:
            wait_s = plan.fail()
            tell(failure, wait_s)
            await clock.sleep(wait_s)
            continue
        if change is not None:
            yield change
        elif (early_s := PAUSE_S - (clock.now() - asked)) > 0:
            await clock.sleep(early_s)
