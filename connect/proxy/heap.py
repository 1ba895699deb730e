"""Giving memory back after a crowd: the C library keeps what it was given, in pieces, and a host has many sidecars.

Measured: crowds of clients that do not read their answers leave a sidecar of 9 MB at 90 MB or more for ever, all of it free.
Called by the roster of HTTP connections.
"""

from __future__ import annotations

import ctypes
from typing import Final

CROWD: Final = 32
"""Fewer connections leave nothing behind that is worth some milliseconds."""

SETTLED_LOOKS: Final = 3
"""Those who go do not all go at once, and what the last leave behind should be given back too."""


class Ebb:
    """Tells when a crowd has gone. Pure."""

    def __init__(self) -> None:
        self._most = self._looks = 0

    def over(self, count: int) -> bool:
        """Whether a crowd, and a third of all or more, has gone since this was last true; `count` are here now."""
        self._most = max(self._most, count)
        self._looks = self._looks + 1 if self._most - count >= max(CROWD, self._most // 3) else 0
        if self._looks < SETTLED_LOOKS:
            return False
        self._most, self._looks = count, 0
        return True


def give_back() -> None:
    """Return free memory to the system, where the C library can (glibc). Takes milliseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
