"""A sidecar's leaf and its key in a file of the host, so that a proxy started anew serves also when nobody can sign.

Trust: the file is written and read by the proxy alone, 0600 in a 0700 folder of the same user, as every TLS server keeps its
key; the agent names the place, and removes the file when the sidecar is gone. It is worth no more than the leaf is valid.
Called by `leaf`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec
import structlog

from chowk.connect.proxy.renewal import HeldLeaf
from chowk.core.runtime.checked_files import DamagedFile, read_checked, write_checked

log = structlog.get_logger("chowk.proxy")
KIND: Final = "leaf-1"
FILE_BYTES_MAX: Final = 256 * 1024


class StoredLeaf(msgspec.Struct, frozen=True, kw_only=True):
    """`cert_pem` is the leaf and what it brings; `key_pem` its private key: never to be logged or sent."""

    held: HeldLeaf
    cert_pem: str
    key_pem: bytes


def stored_path(folder: Path, proxy_id: str, suffix: str) -> Path:
    """Where something of a proxy is kept: a hash, so that no id can point outside the folder."""
    return folder / f"{hashlib.sha256(proxy_id.encode()).hexdigest()}.{suffix}"


def leaf_path(folder: Path, proxy_id: str) -> Path:
    """Where the leaf of a proxy is kept."""
    return stored_path(folder, proxy_id, "leaf")


class LeafFile:
    """One proxy's. `path` None keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def load(self) -> StoredLeaf | None:
        """What was kept; None when there is nothing that can be used, which the log says."""
        if self._path is None:
            return None
        try:
            content = read_checked(self._path, KIND, FILE_BYTES_MAX)
            return msgspec.msgpack.decode(content, type=StoredLeaf) if content is not None else None
        except (DamagedFile, OSError, msgspec.MsgspecError) as error:
            log.error("the leaf that was kept cannot be used", path=str(self._path), error=str(error))
            return None

    def save(self, leaf: StoredLeaf) -> None:
        """Keep it. Waits for the disk; one that refuses costs the leaf at the next start, and is told."""
        if self._path is None:
            return
        try:
            write_checked(self._path, KIND, msgspec.msgpack.encode(leaf))
        except OSError as error:
            log.error("the leaf could not be kept for the next start", path=str(self._path), error=str(error))

    @property
    def keeps(self) -> bool:
        """Whether there is a place to keep it."""
        return self._path is not None
