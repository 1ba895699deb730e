"""One process at a time in a server's folder: an exclusive flock, which the system gives back when the process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from chowk.server.storage.errors import FolderInUse, explained


class FolderLock:
    """Taken by making it. FolderInUse says who has it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "lock"
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise explained(error, "open", path) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            if not isinstance(error, BlockingIOError):
                raise explained(error, "lock", path) from error
            who = f"the process {holder}" if holder.isdigit() else "another process"
            raise FolderInUse(
                f"{folder} is in use by {who}: stop it first, or give this server a data_dir of its own"
            ) from error
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Let others in."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
