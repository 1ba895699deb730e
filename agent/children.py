"""The agent's child processes: started, watched, restarted with backoff, and told to end. Called by boot.

A child reads its options as one JSON line on stdin; that stdin stays open for as long as the agent lives, and its end
tells the child that the agent is gone. A child prints one JSON line when it is ready or cannot start; what it prints after
that, and is told after that (`tell`), is between it and who made it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Sequence
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

TOLD_BYTES_MAX = 1024 * 1024
"""Of what a child was told and has not read; it is killed beyond, and told anew."""


class ChildFailed(ChowkError):
    """A child could not start; the text is what it said."""


class Child:
    """One child process, `python -m MODULE`, kept running. `options` is asked anew at each start. The child has the files
    of `keep` open under the same numbers; `heard` gets each line that it prints once it is ready, `died` is called each
    time it is gone.
    """

    def __init__(
        self,
        name: str,
        module: str,
        options: Callable[[], dict[str, Any]],
        clock: Clock,
        *,
        keep: Sequence[int] = (),
        heard: Callable[[bytes], None] | None = None,
        died: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._module = module
        self._options = options
        self._clock = clock
        self._keep = tuple(keep)
        self._heard = heard
        self._died = died
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

    def launch(self) -> None:
        """Start it without waiting; when it cannot be started, that is tried again for ever."""
        self._tasks.spawn(self._launch(), "watch")

    def tell(self, line: bytes) -> None:
        """One line, to a child that runs; what is told to none is lost, since the next one gets its options anew."""
        process = self._process
        if process is None or process.returncode is not None or process.stdin is None:
            return
        process.stdin.write(line + b"\n")
        if process.stdin.transport.get_write_buffer_size() > TOLD_BYTES_MAX:
            self.kill()

    def kill(self) -> None:
        """Kill it; it is started again."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

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
            pass_fds=self._keep,
        )
        try:
            await self._introduce(process)
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        log.info("child started", child=self._name, pid=process.pid)
        if self._heard is not None and process.stdout is not None:
            self._tasks.spawn(_hear(process.stdout, self._heard), "hear")

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

    async def _launch(self) -> None:
        try:
            await self._spawn()
        except (ChildFailed, OSError) as error:
            log.error("child does not start; trying again", child=self._name, error=str(error), in_s=BACKOFF_S_MIN)
            await self._restart(BACKOFF_S_MIN)
        await self._watch()

    async def _watch(self) -> None:
        delay = BACKOFF_S_MIN
        while self._process is not None:
            started = self._clock.now()
            status = await self._process.wait()
            if self._stopping:
                return
            self._died()
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


async def _hear(lines: asyncio.StreamReader, heard: Callable[[bytes], None]) -> None:
    try:
        while line := await lines.readline():
            heard(line)
    except ValueError as error:  # longer than any line of ours
        log.error("a child said what cannot be read", error=str(error))


def _describe(status: int) -> str:
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"exit {status}"
