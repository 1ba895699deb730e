"""`auto_reload_config`: notices that the configuration's files, or those of HTTPS, have changed. Made by `agent.boot`.

Files are looked at, not subscribed to: a rename over a file, a symlink that is turned (as Kubernetes does) and a network
disk are all the same then. A change is told once it has lasted for one more look, so that no half-written file is read.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from chowk.agent.config.sources import SUFFIXES
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

INTERVAL_S: Final = 1.0
FILES_MAX: Final = 10_000

Look = tuple[tuple[str, int, int, int], ...]


class ConfigWatch:
    """`paths()` are the files and folders to look at; `changed` is called when one of them is another than before."""

    def __init__(self, paths: Callable[[], Sequence[str]], changed: Callable[[], None], clock: Clock) -> None:
        self._paths = paths
        self._changed = changed
        self._clock = clock
        self._tasks = TaskOwner("config-watch")

    async def start(self) -> None:
        """Begin to look."""
        self._tasks.spawn(self._follow(await self._look()), "look")

    async def close(self) -> None:
        """Look no more."""
        await self._tasks.close()

    async def _follow(self, told: Look) -> None:
        before = told
        while True:
            await self._clock.sleep(INTERVAL_S)
            now = await self._look()
            if now != told and now == before:
                told = now
                self._changed()
            before = now

    async def _look(self) -> Look:
        return await asyncio.to_thread(look, tuple(self._paths()))


def look(paths: Sequence[str]) -> Look:
    """What tells one state of the files from another: name, inode, size and time of change of each."""
    found = []
    for path in paths:
        names = [path]
        if Path(path).is_dir():
            names = [str(Path(path) / name) for name in sorted(os.listdir(path)) if name.endswith(SUFFIXES)][:FILES_MAX]
        for name in names:
            try:
                status = os.stat(name)
            except OSError:
                continue
            found.append((name, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)
