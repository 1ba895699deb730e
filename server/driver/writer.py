"""The thread that writes the log. While one group is written the next one gathers: that is the group commit.

Used by `driver.engine`, on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from chowk.core.runtime.tasks import TaskOwner
from chowk.server.raft.effects import Persist
from chowk.server.raft.records import SnapshotMeta
from chowk.server.storage.errors import StorageError
from chowk.server.storage.port import Storage

T = TypeVar("T")


class LogWriter:
    """Calls back on the loop: `written` with the last sequence that is durable, `installed` when a snapshot of another
    server has taken the log's place, `failed` once, after which nothing more is written."""

    def __init__(
        self,
        storage: Storage,
        tasks: TaskOwner,
        written: Callable[[int], None],
        installed: Callable[[SnapshotMeta], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._storage = storage
        self._tasks = tasks
        self._written = written
        self._installed = installed
        self._failed = failed
        self._thread = ThreadPoolExecutor(1, "raft-log")
        self._waiting: list[Persist] = []
        self._is_writing = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Return when nothing is being written."""
        await self._idle.wait()

    async def call(self, work: Callable[[], T]) -> T:
        """Do something in the thread, after what it was given before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def write(self, persists: Sequence[Persist]) -> None:
        """Write these with what waits already. The core bounds how much that is."""
        self._waiting += persists
        if self._waiting and not self._is_writing:
            self._is_writing = True
            self._idle.clear()
            self._tasks.spawn(self._write(), "write")

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                await self._persist(group)
            except StorageError as error:
                self._failed(error)
                return
            self._written(group[-1].sequence)
        self._is_writing = False
        self._idle.set()

    async def _persist(self, group: Sequence[Persist]) -> None:
        """A group in order. A snapshot of another server splits it: what comes before it, itself, what comes after."""
        run: list[Persist] = []
        for persist in group:
            if persist.install is not None:
                await self.call(partial(self._storage.persist, [*run, Persist(0, persist.hard_state)]))
                await self.call(partial(self._storage.install, persist.install))
                self._installed(persist.install)
                run = []
            run.append(persist)
        await self.call(partial(self._storage.persist, run))

    async def close(self) -> None:
        """End what was begun, and let go of the disk."""
        await self.call(self._storage.close)
        self._thread.shutdown()
