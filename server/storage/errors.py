"""What can be wrong with a server's folder, each with what to do about it. An OSError, so that a start reports it as one."""

from __future__ import annotations

import errno
from pathlib import Path


class StorageError(OSError):
    """The folder cannot be used, or no longer; the text is for a person. The server must stop: nothing is retried."""


class FolderInUse(StorageError):
    """Another process holds the folder."""


class Corrupt(StorageError):
    """A file holds something that was never written so. Says which, where, and what to do."""

    def __init__(self, path: Path, offset: int, what: str) -> None:
        super().__init__(
            f"{path} is damaged at byte {offset}: {what}. Nothing was changed. "
            "If other servers have the data, move the folder away and let this server join them again; "
            "if not, restore the folder from a backup"
        )
        self.path = path
        self.offset = offset
        self.what = what


ADVICE = {
    errno.ENOSPC: "the disk is full: make room and start the server again; nothing acknowledged is lost",
    errno.EDQUOT: "the disk quota is used up: make room and start the server again; nothing acknowledged is lost",
    errno.EIO: "the disk fails: check it and replace it; after a failed write nothing more is trusted to it",
    errno.EACCES: "this user may not: give the folder and all in it to the user the server runs as",
    errno.EPERM: "this user may not: give the folder and all in it to the user the server runs as",
    errno.EROFS: "the file system is read-only: mount it writable, or choose another data_dir",
    errno.ENOTDIR: "a part of this path is no folder: choose another data_dir",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
}


def explained(error: OSError, doing: str, path: Path) -> StorageError:
    """A StorageError of what the system said while `doing` something with `path`."""
    if isinstance(error, StorageError):
        return error
    advice = ADVICE.get(error.errno or 0, "see to the disk and start the server again")
    return StorageError(f"cannot {doing} {path}: {error.strerror or error} ({advice})")
