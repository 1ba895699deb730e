"""The thread that reads and writes snapshots, and when one is due. Used by `driver.engine`, on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import structlog

from chowk.core.runtime.clock import Clock
from chowk.core.server_options import RaftTuning
from chowk.server.raft.records import SnapshotMeta
from chowk.server.storage.port import Storage

T = TypeVar("T")
log = structlog.get_logger("chowk.consensus")
LOG_BYTES: Final = 64 * 1024 * 1024
"""This much log is reason for a snapshot before the interval has passed."""
LOG_ENTRIES: Final = 131_072
"""So are this many entries: a restart reads and applies them all, ten microseconds each."""


class Snapshots:
    """One snapshot is taken at a time. `log_bytes` counts what was applied since the last."""

    def __init__(self, storage: Storage, tuning: RaftTuning, clock: Clock) -> None:
        self._storage = storage
        self._tuning = tuning
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "raft-snapshot")
        self._last_s = clock.now()
        self._taking = False
        self.log_bytes = 0

    def is_due(self, snapshot: int, applied: int) -> bool:
        """Whether to take one now: enough entries and time since the last, or very much log."""
        if self._taking or applied <= snapshot:
            return False
        waited = self._clock.now() - self._last_s >= self._tuning.snapshot_interval_s
        entries = applied - snapshot
        many = entries >= self._tuning.snapshot_threshold
        return (many and waited) or entries >= LOG_ENTRIES or self.log_bytes >= LOG_BYTES

    async def take(self, meta: SnapshotMeta, chunks: Callable[[], Iterable[bytes]]) -> None:
        """Write the state that was frozen; it is durable when this returns. None is due meanwhile. StorageError."""
        self._last_s = started = self._clock.now()
        try:
            await self.call(lambda: self._storage.save_snapshot(meta, chunks()))
        finally:
            self._taking = False
        log.info("took a snapshot", index=meta.index, seconds=round(self._clock.now() - started, 3))

    def begin(self) -> None:
        """`take` follows: from now until it ends none is due."""
        self._taking = True
        self.log_bytes = 0

    async def call(self, work: Callable[[], T]) -> T:
        """Do something in the thread, after what it was given before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """End the snapshot that was begun."""
        await self.call(int)
        self._thread.shutdown()
