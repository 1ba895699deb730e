"""How far the state machine is, and who waits for it to get further. Used by `driver.engine`."""

from __future__ import annotations

import asyncio

from chowk.core.errors import NoLeader


class Applied:
    """`index` is the last that was applied; call `wake` after it moved."""

    def __init__(self) -> None:
        self.index = 0
        self._waiting: dict[asyncio.Future[None], int] = {}

    async def reach(self, index: int) -> None:
        """Return when `index` is applied. NoLeader when that will not be waited for."""
        if self.index >= index:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = index
        try:
            await waiter
        finally:
            del self._waiting[waiter]

    def wake(self) -> None:
        """Tell those whose index is reached."""
        for waiter, index in self._waiting.items():
            if index <= self.index and not waiter.done():
                waiter.set_result(None)

    def fail(self) -> None:
        """Tell all that wait."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(NoLeader())
