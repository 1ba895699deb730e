"""Where the CA's private key lives: one file a root in `data_dir/server/ca`, or this process's memory. Nowhere else.

Files are 0600 in a 0700 folder, complete and synced before they have their name: a root is replicated only after its key is
durable. Called by `server.leader.authority`, in a thread: these calls wait for the disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final, Protocol

from chowk.core.runtime.files import write_durably

KEY_BYTES_MAX: Final = 16_384
_HEXADECIMAL: Final = frozenset("0123456789abcdef")


class KeyStore(Protocol):
    """Keeps keys (PEM) by root id."""

    def load(self, root_id: str) -> bytes | None:
        """The key, None when there is none. OSError when it cannot be read, or others may read it."""
        ...

    def save(self, root_id: str, pem: bytes) -> None:
        """Return when the key is durable. OSError."""
        ...

    def prune(self, keep: Collection[str], before_s: float) -> tuple[str, ...]:
        """Remove the keys of roots that are not in `keep` and were saved before that Unix time; how they were called.
        OSError."""
        ...


class MemoryKeys:
    """For `-dev`: gone with the process."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}

    def load(self, root_id: str) -> bytes | None:
        """The key of a root."""
        return self._keys.get(root_id)

    def save(self, root_id: str, pem: bytes) -> None:
        """Keep the key of a root."""
        self._keys[root_id] = pem

    def prune(self, keep: Collection[str], before_s: float) -> tuple[str, ...]:  # noqa: ARG002 (of the protocol)
        """Nothing is kept for long here."""
        return ()


class DiskKeys:
    """One file a root."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, root_id: str) -> bytes | None:
        """The key of a root. A file that others may read is refused: its key may be known to them."""
        path = self._path(root_id)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            raise OSError(f"{path} is not a file: put the key back there, or remove it to get a new root")
        with os.fdopen(descriptor, "rb") as file:
            if mode & 0o077:
                raise PermissionError(f"{path} may be read by others (mode {mode & 0o777:o}): run chmod 600 on it")
            return file.read(KEY_BYTES_MAX)

    def save(self, root_id: str, pem: bytes) -> None:
        """Keep the key, readable by this user alone."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(self._path(root_id), pem)

    def prune(self, keep: Collection[str], before_s: float) -> tuple[str, ...]:
        """Remove the files of other roots; nothing that is not a key of ours is touched."""
        kept = {self._path(root_id).name for root_id in keep}
        gone = []
        for path in sorted(self._folder.glob("*.pem")):
            is_other = path.name not in kept and set(path.stem) <= _HEXADECIMAL
            if is_other and path.lstat().st_mtime < before_s:
                path.unlink(missing_ok=True)
                gone.append(path.stem)
        return tuple(gone)

    def _path(self, root_id: str) -> Path:
        """The id is hexadecimal with colons; anything else is not let near a path."""
        name = root_id.replace(":", "")
        if not name or not set(name) <= _HEXADECIMAL:
            raise ValueError(f"not the id of a root: {root_id!r}")
        return self._folder / f"{name}.pem"
