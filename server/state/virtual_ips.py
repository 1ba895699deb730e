"""A virtual address for each service of the mesh, from 240.0.0.0/4 (RFC 1112 section 4: reserved, so never a real host's).

An address stays its service's while there is room, also when the last instance is gone for a while: applications remember
addresses. Over `NAMES_MAX` names, the one assigned first whose service is gone gives its place up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from typing import Final

NAMES_MAX: Final = 65_536
_BASE: Final = int(IPv4Address("240.0.0.0"))
_ADDRESSES: Final = 2**28 - 2
"""Neither 240.0.0.0 nor 255.255.255.255 (the limited broadcast) is given out."""


class VirtualIPs:
    """Name -> offset into 240.0.0.0/4, in the order assigned."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {}
        self._last = 0

    def address(self, name: str) -> str:
        """The address of `name`, "" when it has none."""
        offset = self._offsets.get(name)
        return str(IPv4Address(_BASE + offset)) if offset is not None else ""

    def assign(self, name: str, in_use: Callable[[str], bool]) -> None:
        """Give `name` an address unless it has one. When every place is in use it gets none."""
        if name in self._offsets:
            return
        if len(self._offsets) >= NAMES_MAX:
            idle = next((each for each in self._offsets if not in_use(each)), None)
            if idle is None:
                return
            del self._offsets[idle]
        self._last = self._last % _ADDRESSES + 1
        taken = set(self._offsets.values()) if self._last in self._offsets.values() else set()
        while self._last in taken:
            self._last = self._last % _ADDRESSES + 1
        self._offsets[name] = self._last

    def rows(self) -> tuple[int, list[tuple[str, int]]]:
        """For a snapshot: the last offset given, and (name, offset) in the order assigned."""
        return self._last, list(self._offsets.items())

    def load(self, last: int, rows: Iterable[tuple[str, int]]) -> None:
        """Take the rows of a snapshot."""
        self._last = last
        self._offsets.update(rows)
