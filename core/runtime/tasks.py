"""Tasks with an owner: everything spawned is named, awaited on close, and its failure is told, not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger("chowk.tasks")


class TaskOwner:
    """Owns background tasks. A task that raises is logged and handed to `on_crash`; `close` cancels and awaits all."""

    def __init__(self, name: str, on_crash: Callable[[str, BaseException], None] | None = None) -> None:
        self._name = name
        self._on_crash = on_crash
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start `coroutine` as a task of this owner."""
        if self._closing:
            coroutine.close()
            raise RuntimeError(f"{self._name} is closing; it takes no new task {name}")
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self._name}:{name}")
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    async def wait(self, timeout_s: float) -> None:
        """Wait until the tasks of now have ended by themselves; no longer than `timeout_s`."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=timeout_s)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended. Safe to call twice, and from one of the tasks."""
        self._closing = True
        current = asyncio.current_task()
        while pending := [task for task in self._tasks if task is not current]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        log.error("task crashed", task=task.get_name(), error=str(error), exc_info=error)
        if self._on_crash is not None:
            self._on_crash(task.get_name(), error)
