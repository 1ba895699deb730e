"""A thread that does one thing after another and tells the loop of each with one wake-up. Used by `driver.writer`.

An executor's future wakes more often and takes more locks: of what a small write cost here, that was most.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Done = Callable[[Any, BaseException | None], None]
Item = tuple[Callable[[], Any], Done, asyncio.AbstractEventLoop]


class WorkThread:
    """Begun with the first work. How much waits is bounded by who gives it: a group of writes at a time, and the rare
    `call`."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[Item | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._begun = False

    def do(self, work: Callable[[], Any], done: Done) -> None:
        """Do `work` in the thread, after what was given before; then `done(result, error)` on this loop."""
        if not self._begun:
            self._begun = True
            self._thread.start()
        self._queue.put((work, done, asyncio.get_running_loop()))

    async def call(self, work: Callable[[], T]) -> T:
        """Do `work` in the thread, after what was given before."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: T, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.do(work, done)
        return await future

    def end(self) -> None:
        """Let it end after what it was given."""
        self._queue.put(None)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            work, done, loop = item
            result, error = None, None
            try:
                result = work()
            except BaseException as failure:  # noqa: BLE001 (handed to who waits for it, as an executor's future does)
                error = failure
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done, result, error)
