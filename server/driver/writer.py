"""The thread that writes the log. While one group is written the next one gathers: that is the group commit.

Used by `driver.engine`, on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from chowk.core.runtime.tasks import TaskOwner
from chowk.server.driver.thread import WorkThread
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
        self._thread = WorkThread("raft-log")
        self._waiting: list[Persist] = []
        self._is_writing = False
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Return when nothing is being written."""
        await self._idle.wait()

    async def call(self, work: Callable[[], T]) -> T:
        """Do something in the thread, after what it was given before."""
        return await self._thread.call(work)

    def write(self, persists: Sequence[Persist]) -> None:
        """Write these with what waits already. The core bounds how much that is."""
        self._waiting += persists
        if self._waiting and not self._is_writing:
            self._is_writing = True
            self._idle.clear()
            # After what is to be sent was sent: the thread, woken, could only wait for the interpreter's lock before.
            asyncio.get_running_loop().call_soon(self._begin_group)

    def _begin_group(self) -> None:
        if self._closed:
            return
        group, self._waiting = self._waiting, []
        if any(persist.install is not None for persist in group):
            self._tasks.spawn(self._write_parts(group), "write")
        else:
            self._thread.do(partial(self._storage.persist, group), partial(self._ended, group))

    async def _write_parts(self, group: Sequence[Persist]) -> None:
        """A snapshot of another server splits its group: what comes before it, itself, what comes after."""
        run: list[Persist] = []
        try:
            for persist in group:
                if persist.install is not None:
                    await self.call(partial(self._storage.persist, [*run, Persist(0, persist.hard_state)]))
                    await self.call(partial(self._storage.install, persist.install))
                    self._installed(persist.install)
                    run = []
                run.append(persist)
            await self.call(partial(self._storage.persist, run))
        except StorageError as error:
            self._ended(group, None, error)
            return
        self._ended(group, None, None)

    def _ended(self, group: Sequence[Persist], _result: None, error: BaseException | None) -> None:
        """The disk has the next group before anybody hears of this one."""
        if self._closed:
            return
        if error is not None:
            self._failed(error)
            return
        if self._waiting:
            self._begin_group()
        else:
            self._is_writing = False
            self._idle.set()
        try:
            self._written(group[-1].sequence)
        except Exception as failure:  # noqa: BLE001 (an outer edge: a broken promise of Raft's stops everything)
            self._failed(failure)

    def stop(self) -> None:
        """Begin nothing more, and tell of nothing more."""
        self._closed = True

    async def close(self) -> None:
        """End what was begun, and let go of the disk."""
        self.stop()
        await self.call(self._storage.close)
        self._thread.end()
