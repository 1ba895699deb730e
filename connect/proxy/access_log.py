"""Access logs: one JSON line a request, to stdout, stderr or a file, sampled. Set by `proxy-defaults`' access_logs.

Lines are written by a task of their own, away from the loop, so that a slow disk or terminal delays no request; what does
not fit in the buffer meanwhile is dropped, counted, and said in the log itself.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from chowk.connect.stats.observation import Observers, RequestRecord, json_line
from chowk.core.records.traffic import AccessLogs
from chowk.core.runtime.clock import Clock

log = structlog.get_logger("chowk.proxy")
LINES_MAX: Final = 10_000
FLUSH_S: Final = 0.2
_DESCRIPTORS: Final = {"": 1, "stdout": 1, "stderr": 2}


class AccessLog:
    """`use` takes the settings of each snapshot; `run` writes."""

    def __init__(self, observers: Observers, clock: Clock, rng: random.Random) -> None:
        self._observers = observers
        self._clock = clock
        self._rng = rng
        self._settings = AccessLogs()
        self._lines: list[bytes] = []
        self._more = asyncio.Event()
        self.dropped_total = 0
        self._dropped = 0
        self._complaint = ""

    def use(self, settings: AccessLogs) -> None:
        """From the next request on."""
        if settings.enabled != self._settings.enabled:
            change: Callable[[Callable[[RequestRecord], None]], None]
            change = self._observers.add if settings.enabled else self._observers.remove
            change(self._see)
        self._settings = settings

    async def run(self) -> None:
        """Write what came, for ever. Without requests it sleeps: a host may have hundreds of proxies that do nothing."""
        while True:
            await self._more.wait()
            await self._clock.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what came since the last time."""
        self._more.clear()
        if self._dropped:
            self._lines.append(msgspec.json.encode({"dropped_lines": self._dropped}) + b"\n")
            self._dropped = 0
        if self._lines:
            lines, self._lines = self._lines, []
            await asyncio.to_thread(self._write, b"".join(lines), self._settings)

    def _see(self, record: RequestRecord) -> None:
        bad = record.status >= 500 or record.status == 0 or record.reason
        if not bad and self._rng.random() * 100 >= self._settings.sample_percent:
            return
        if len(self._lines) >= LINES_MAX:
            self._dropped += 1
            self.dropped_total += 1
            return
        self._lines.append(json_line(record))
        self._more.set()

    def _write(self, text: bytes, settings: AccessLogs) -> None:
        try:
            if settings.type == "file":
                with open(settings.path, "ab", buffering=0, opener=_private) as file:
                    file.write(text)
            else:
                _write_all(_DESCRIPTORS[settings.type], text)
            self._complaint = ""
        except OSError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.error("access log not written", error=str(error))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o640)


def _write_all(descriptor: int, text: bytes) -> None:
    view = memoryview(text)
    while view:
        view = view[os.write(descriptor, view) :]
