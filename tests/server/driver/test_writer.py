"""The thread that writes the log: groups in order, one failure and no more, and nothing told after the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest

from chowk.core.runtime.tasks import TaskOwner
from chowk.server.driver.thread import WorkThread
from chowk.server.driver.writer import LogWriter
from chowk.server.raft.effects import Persist
from chowk.server.storage.errors import StorageError


class SlowDisk:
    """Writes when it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.groups: list[list[int]] = []
        self.closed = False
        self.fails = False

    def persist(self, writes: Sequence[Persist]) -> None:
        assert self.let.wait(10)
        assert not self.closed
        if self.fails:
            raise StorageError("the disk is full")
        self.groups.append([persist.sequence for persist in writes])

    def close(self) -> None:
        self.closed = True


class Desk:
    """A writer, and what it told."""

    def __init__(self) -> None:
        self.disk = SlowDisk()
        self.written: asyncio.Queue[int] = asyncio.Queue()
        self.failures: asyncio.Queue[BaseException] = asyncio.Queue()
        self.writer = LogWriter(
            cast(Any, self.disk),
            TaskOwner("test"),
            self.written.put_nowait,
            lambda _meta: None,
            self.failures.put_nowait,
        )

    def write(self, sequence: int) -> None:
        self.writer.write([Persist(sequence)])


def test_what_comes_while_a_group_is_written_is_one_group_after_it() -> None:
    async def scenario() -> None:
        desk = Desk()
        for turn in ((1, 2), (3,), (4,)):
            for sequence in turn:
                desk.write(sequence)
            await asyncio.sleep(0)
        desk.disk.let.set()
        assert [await desk.written.get(), await desk.written.get()] == [2, 4]
        await desk.writer.idle()
        assert desk.disk.groups == [[1, 2], [3, 4]]
        await desk.writer.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_after_one_failure_nothing_more_is_written_or_told() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.disk.fails = True
        desk.write(1)
        desk.write(2)
        desk.disk.let.set()
        assert str(await desk.failures.get()) == "the disk is full"
        desk.disk.fails = False
        desk.write(3)
        await desk.writer.close()
        assert not desk.disk.groups
        assert desk.written.empty()
        assert desk.failures.empty()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_group_under_way_at_the_end_is_written_before_the_disk_is_let_go_and_not_told() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.write(1)
        await asyncio.sleep(0)
        desk.write(2)
        desk.writer.stop()
        desk.disk.let.set()
        await desk.writer.close()
        assert desk.disk.groups == [[1]]
        assert desk.disk.closed
        assert desk.written.empty()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_what_was_not_begun_at_the_end_is_not_written() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.disk.let.set()
        desk.write(1)
        desk.writer.stop()
        await desk.writer.close()
        assert not desk.disk.groups
        assert desk.disk.closed

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_promise_that_is_broken_when_a_group_ends_is_a_failure() -> None:
    async def scenario() -> None:
        desk = Desk()

        def broken(_sequence: int) -> None:
            raise ValueError("write 1 cannot have ended")

        desk.writer._written = broken
        desk.disk.let.set()
        desk.write(1)
        assert str(await desk.failures.get()) == "write 1 cannot have ended"
        await desk.writer.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_an_error_of_the_work_is_the_callers_and_the_thread_goes_on() -> None:
    async def scenario() -> None:
        thread = WorkThread("test")

        def fail() -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await thread.call(fail)
        assert await thread.call(lambda: 7) == 7
        thread.end()

    asyncio.run(asyncio.wait_for(scenario(), 10))
