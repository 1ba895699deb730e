"""The agent's child processes: started, watched, restarted with backoff, and told to end. Called by boot.

A child reads its options as one JSON line on stdin; that stdin stays open for as long as the agent lives, and its end
tells the child that the agent is gone. A child prints one JSON line when it is ready or cannot start.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

import structlog

from chowk.core.errors import ChowkError
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.children")
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
BACKOFF_S_MIN = 0.2
BACKOFF_S_MAX = 10.0
STEADY_S = 30.0
"""A child that ran this long starts again without delay."""


class ChildFailed(ChowkError):
    """A child could not start; the text is what it said."""


class Child:
    """One child process, `python -m MODULE`, kept running. `options` is asked anew at each start."""

    def __init__(self, name: str, module: str, options: Callable[[], dict[str, Any]], clock: Clock) -> None:
        self._name = name
        self._module = module
        self._options = options
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._tasks = TaskOwner(f"child:{name}")
        self._stopping = False
        self.restarts = 0

    @property
    def pid(self) -> int:
        """The process id, 0 when it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    async def start(self) -> None:
        """Start it and wait until it is ready. ChildFailed with the child's own words when it is not."""
        await self._spawn()
        self._tasks.spawn(self._watch(), "watch")

    async def close(self) -> None:
        """End it: SIGTERM, then SIGKILL after STOP_TIMEOUT_S."""
        self._stopping = True
        await self._tasks.close()
        await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            log.warning("child does not stop; killing it", child=self._name, pid=process.pid)
            process.kill()
            await process.wait()

    async def _spawn(self) -> None:
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the terminal is the agent's to handle
        )
        try:
            await self._introduce(process)
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        log.info("child started", child=self._name, pid=process.pid)

    async def _introduce(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise ChildFailed(f"the {self._name} process has no pipes")
        process.stdin.write(json.dumps(self._options()).encode() + b"\n")
        try:
            line = await asyncio.wait_for(process.stdout.readline(), READY_TIMEOUT_S)
        except TimeoutError:
            raise ChildFailed(f"the {self._name} process was not ready within {READY_TIMEOUT_S:g}s") from None
        try:
            word = json.loads(line)
        except ValueError:
            status = await process.wait()
            raise ChildFailed(f"the {self._name} process ended before it was ready (status {status})") from None
        if not word.get("ready"):
            await process.wait()
            raise ChildFailed(str(word.get("error", f"the {self._name} process could not start")))

    async def _watch(self) -> None:
        delay = BACKOFF_S_MIN
        while self._process is not None:
            started = self._clock.now()
            status = await self._process.wait()
            if self._stopping:
                return
            delay = BACKOFF_S_MIN if self._clock.now() - started >= STEADY_S else min(delay * 2, BACKOFF_S_MAX)
            log.error("child died; restarting it", child=self._name, status=_describe(status), in_s=delay)
            await self._restart(delay)

    async def _restart(self, delay: float) -> None:
        while True:
            await self._clock.sleep(delay)
            try:
                await self._spawn()
            except (ChildFailed, OSError) as error:
                delay = min(delay * 2, BACKOFF_S_MAX)
                log.error("child does not start; trying again", child=self._name, error=str(error), in_s=delay)
                continue
            self.restarts += 1
            return


def _describe(status: int) -> str:
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"exit {status}"
