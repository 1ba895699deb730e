"""A network coordinate: where a node is, as round-trip times go, in Consul's shape. Pure.

The space is that of Vivaldi (Dabek, Cox, Kaashoek, Morris 2004): eight dimensions of which the distance stands for the path
between two nodes, a height for what each adds on its own, and an adjustment for what the space cannot express (Ledlie,
Gardner, Seltzer 2007). All of it in seconds.
"""

from __future__ import annotations

import math
from typing import Final

from chowk.core.records.base import Record

DIMENSIONS: Final = 8
HEIGHT_S_MIN: Final = 10.0e-6
ERROR_MAX: Final = 1.5
PART_S_MAX: Final = 1000.0
"""No honest part comes near; what is larger would make estimates overflow."""


class Coordinate(Record, frozen=True, kw_only=True):
    """`error` is how far the node believes to be off, as a part of an estimate: 1.5 knows nothing."""

    vec: tuple[float, ...] = (0.0,) * DIMENSIONS
    error: float = ERROR_MAX
    adjustment: float = 0.0
    height: float = HEIGHT_S_MIN

    def rtt_s(self, other: Coordinate) -> float:
        """The estimated round-trip time between two valid coordinates, in seconds."""
        raw_s = self.raw_rtt_s(other)
        adjusted_s = raw_s + (self.adjustment + other.adjustment)
        return adjusted_s if adjusted_s > 0 else raw_s

    def raw_rtt_s(self, other: Coordinate) -> float:
        """The same without the adjustments."""
        return math.dist(self.vec, other.vec) + (self.height + other.height)

    @property
    def problem(self) -> str:
        """Why nothing can be estimated with it; "" where it is valid. To be asked of whatever came from elsewhere."""
        if len(self.vec) != DIMENSIONS:
            return f"it has {len(self.vec)} dimensions; {DIMENSIONS} are wanted"
        parts = (*self.vec, self.error, self.adjustment, self.height)
        if not all(math.isfinite(part) and abs(part) <= PART_S_MAX for part in parts):
            return f"its parts must be numbers between -{PART_S_MAX:g} and {PART_S_MAX:g}"
        if self.error < 0 or self.height < 0:
            return "its error and height cannot be negative"
        return ""


class NodeCoordinate(Record, frozen=True, kw_only=True):
    """What the catalog knows of a node's place. `segment` is there for Consul's clients: always ""."""

    node: str
    segment: str = ""
    coord: Coordinate
