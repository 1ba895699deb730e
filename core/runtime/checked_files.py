"""Files that tell by themselves whether they are whole: one line with kind, length and SHA-256, then the content.

What is cut short, changed or not ours is an error, never half an answer. Called by proxies for their leaves and by the agent
for the snapshots it keeps.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from chowk.core.runtime.files import write_durably

_MAGIC: Final = "chowk"
_HEAD_BYTES_MAX: Final = 256


class DamagedFile(ValueError):
    """The file is not what was written, or others could have written it; the text says which."""


def write_checked(path: Path, kind: str, content: bytes) -> None:
    """Replace `path`, durably, mode 0600. `kind` is one word that tells what the content is, and in which form."""
    write_durably(path, f"{_MAGIC} {kind} {len(content)} {hashlib.sha256(content).hexdigest()}\n".encode() + content)


def read_checked(path: Path, kind: str, bytes_max: int) -> bytes | None:
    """The content; None when there is no such file. DamagedFile, or OSError as the disk gives."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        _refuse_foreign(os.fstat(file.fileno()))
        raw = file.read(bytes_max + _HEAD_BYTES_MAX + 1)
    head, newline, content = raw.partition(b"\n")
    if not newline or len(head) > _HEAD_BYTES_MAX:
        raise DamagedFile("it has no first line")
    words = head.decode("ascii", errors="replace").split(" ")
    if words[:2] != [_MAGIC, kind] or len(words) != 4:
        raise DamagedFile(f"it is not of the kind {kind}")
    if words[2] != str(len(content)):
        raise DamagedFile(f"it has {len(content)} bytes of {words[2][:20]}: it was cut short, or grew")
    if words[3] != hashlib.sha256(content).hexdigest():
        raise DamagedFile("its checksum is another")
    return content


def _refuse_foreign(status: os.stat_result) -> None:
    """A trust boundary: what others could have put there is not read."""
    if not stat.S_ISREG(status.st_mode):
        raise DamagedFile("it is no file")
    if status.st_uid != os.geteuid():
        raise DamagedFile(f"it belongs to the user {status.st_uid}")
    if status.st_mode & 0o077:
        raise DamagedFile(f"others may use it (mode {stat.S_IMODE(status.st_mode):04o})")
