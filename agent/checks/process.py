"""Runs a command for a check: no shell, a small environment, a process group of its own that ends with the check's time,
and bounded output. Called by the script and os_service checks, and for the handlers of watches.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

KEPT_VARIABLES: Final = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DRAIN_S: Final = 0.25
"""How long output is awaited after the command ended while a child of it still holds the pipe."""

CHUNK_BYTES: Final = 65536
FAST_BYTES: Final = 1_048_576
SLOW_S: Final = 0.01


class Tail:
    """The last `bytes_max` bytes of what was written, and how many there were."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.data = b""
        self.total = 0

    def write(self, chunk: bytes) -> None:
        """Take more."""
        self.total += len(chunk)
        self.data = (self.data + chunk)[-self._bytes_max :]


async def run_command(
    arguments: Sequence[str],
    output: Tail | None,
    *,
    stdin: int = asyncio.subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    grace_s: float = 0.0,
    begun: Callable[[int], None] = lambda _group: None,
) -> int:
    """Run to the end and return the exit status (negative: the signal). Output goes to `output`; what is more than fits is
    read and dropped, so that the command goes on. When cancelled, the command's whole process group is killed and the
    command reaped; with `grace_s` it is first asked by SIGTERM. OSError when it cannot be started.

    `begun` gets the number of the command's process group. `stdin` is a file's number; `env` None is the small environment
    of a check; `output` None leaves the output alone.
    """
    env = environment() if env is None else env
    if output is None:
        process = await asyncio.create_subprocess_exec(*arguments, stdin=stdin, start_new_session=True, env=env)
        begun(process.pid)
        return await _end_of(process, grace_s)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read_end, False)
    reading = _Reading(read_end, output)
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=stdin,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,
                env=env,
            )
        finally:
            os.close(write_end)
        begun(process.pid)
        reading.start()
        status = await _end_of(process, grace_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await reading.ended.wait()
        return status
    finally:
        reading.close()


async def _end_of(process: asyncio.subprocess.Process, grace_s: float) -> int:
    try:
        return await process.wait()
    except asyncio.CancelledError:
        if grace_s:
            _signal_group(process, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await process.wait()
        # The group before its leader is reaped, or while others of it live: the number cannot have become another's.
        _signal_group(process, signal.SIGKILL)
        await process.wait()
        raise


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


class _Reading:
    """Copies a pipe to a Tail; after FAST_BYTES only CHUNK_BYTES each SLOW_S, so that a flood cannot take the loop."""

    def __init__(self, descriptor: int, output: Tail) -> None:
        self._descriptor = descriptor
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.ended = asyncio.Event()

    def start(self) -> None:
        self._loop.add_reader(self._descriptor, self._read)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        try:
            chunk = os.read(self._descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return
        if not chunk:
            self._loop.remove_reader(self._descriptor)
            self.ended.set()
            return
        self._output.write(chunk)
        if self._output.total > FAST_BYTES:
            self._loop.remove_reader(self._descriptor)
            self._timer = self._loop.call_later(SLOW_S, self.start)


def environment() -> dict[str, str]:
    """What a command may know of the agent's environment: no token, no key."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {"PATH": DEFAULT_PATH, **kept}
