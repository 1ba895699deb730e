"""The last snapshot of each sidecar, on disk: what a host that starts without any server serves by. Made by the supervisor.

`data_dir/mesh/<hash of the proxy's id>.snapshot`; no key is in one. A file that was cut short or changed is said, set aside
and not used. A snapshot is written soon after it changed, each sidecar's at most once in `SPACING_S`, one by one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec
import structlog

from chowk.connect.proxy.leaf_file import leaf_path, stored_path
from chowk.connect.snapshot import ProxySnapshot
from chowk.core.runtime.checked_files import DamagedFile, read_checked, write_checked
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.proxies")
FOLDER: Final = "mesh"
KIND: Final = "snapshot-1"
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
DELAY_S: Final = 3.0
SPACING_S: Final = 30.0
"""In a storm of changes the file is this old at most; addresses that moved since are found dead by the sidecar."""


class StoredSnapshots:
    """`folder` None keeps nothing (-dev). With `keeps_leaves` False, leaves that sidecars kept before are removed."""

    def __init__(self, data_dir: Path | None, clock: Clock, *, keeps_leaves: bool) -> None:
        self.folder = data_dir / FOLDER if data_dir is not None else None
        self.leaf_folder = self.folder if keeps_leaves else None
        self._clock = clock
        self._waiting: dict[str, ProxySnapshot] = {}
        self._due: dict[str, float] = {}
        self._work = asyncio.Event()
        self._tasks = TaskOwner("stored-snapshots")

    async def start(self) -> None:
        """Make the folder, and begin to write."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            if self.leaf_folder is None:
                for path in self.folder.glob("*.leaf"):
                    _remove(path)
        except OSError as error:
            log.error("snapshots of sidecars cannot be kept", folder=str(self.folder), error=str(error))
        self._tasks.spawn(self._run(), "write")

    async def close(self) -> None:
        """Write what waits, and end."""
        await self._tasks.close()
        for proxy_id in sorted(self._waiting):
            await asyncio.to_thread(self._write, proxy_id, self._waiting[proxy_id])
        self._waiting.clear()

    def note(self, snapshot: ProxySnapshot) -> None:
        """A sidecar's snapshot as it is now: to be kept."""
        if self.folder is None:
            return
        self._waiting[snapshot.proxy_id] = snapshot
        self._due.setdefault(snapshot.proxy_id, self._clock.now() + DELAY_S)
        self._work.set()

    def load(self, proxy_id: str) -> ProxySnapshot | None:
        """What was kept; None when there is nothing that can be used. What is damaged is set aside."""
        if self.folder is None:
            return None
        path = stored_path(self.folder, proxy_id, "snapshot")
        try:
            content = read_checked(path, KIND, FILE_BYTES_MAX)
            snapshot = msgspec.msgpack.decode(content, type=ProxySnapshot) if content is not None else None
        except (DamagedFile, msgspec.MsgspecError) as error:
            log.error(
                "a sidecar's last snapshot is damaged; it is not used", proxy=proxy_id, path=str(path), error=str(error)
            )
            _set_aside(path)
            return None
        except OSError as error:
            log.error("a sidecar's last snapshot cannot be read", proxy=proxy_id, path=str(path), error=str(error))
            return None
        return snapshot if snapshot is not None and snapshot.proxy_id == proxy_id else None

    def forget(self, proxy_id: str) -> None:
        """The sidecar is no longer registered here: neither its snapshot nor its leaf stays."""
        self._waiting.pop(proxy_id, None)
        self._due.pop(proxy_id, None)
        if self.folder is None:
            return
        for path in (stored_path(self.folder, proxy_id, "snapshot"), leaf_path(self.folder, proxy_id)):
            _remove(path)

    def keep_only(self, proxy_ids: Collection[str]) -> None:
        """Called at the start: what sidecars left that were deregistered while no agent ran goes."""
        if self.folder is None:
            return
        kept = {stored_path(self.folder, proxy_id, "").name for proxy_id in proxy_ids}
        for path in sorted(self.folder.glob("*.*")):
            if f"{path.name.lstrip('.').partition('.')[0]}." not in kept:
                _remove(path)

    async def _run(self) -> None:
        while True:
            self._work.clear()
            now = self._clock.now()
            for proxy_id in sorted(each for each in self._waiting if self._due.get(each, 0.0) <= now):
                snapshot = self._waiting.pop(proxy_id, None)
                if snapshot is None:
                    continue
                self._due[proxy_id] = self._clock.now() + SPACING_S
                await asyncio.to_thread(self._write, proxy_id, snapshot)
                if proxy_id not in self._due:  # forgotten meanwhile
                    self.forget(proxy_id)
            if self._waiting:
                await self._clock.sleep(DELAY_S)
            else:
                await self._work.wait()

    def _write(self, proxy_id: str, snapshot: ProxySnapshot) -> None:
        if self.folder is None:
            return
        try:
            write_checked(stored_path(self.folder, proxy_id, "snapshot"), KIND, msgspec.msgpack.encode(snapshot))
        except OSError as error:
            log.error("a sidecar's snapshot could not be kept", proxy=proxy_id, error=str(error))


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("a sidecar's file could not be removed", path=str(path), error=str(error))


def _set_aside(path: Path) -> None:
    try:
        os.replace(path, path.with_name(f"{path.name}.corrupt"))
    except OSError as error:
        log.error("a file could not be set aside", path=str(path), error=str(error))
