"""Counted doors: how many may be inside at once. Pure; a proxy puts one before connections and one before handshakes."""

from __future__ import annotations


class Gate:
    """At most `limit` inside (0: no limit). What does not get in is counted, never queued."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inside = 0
        self.refused_total = 0

    def enter(self) -> bool:
        """True and one more inside, or False when it is full. A limit lowered later drives nobody out."""
        if self.limit and self.inside >= self.limit:
            self.refused_total += 1
            return False
        self.inside += 1
        return True

    def leave(self) -> None:
        """One that had entered is gone. ValueError when nobody is inside: the caller counts wrongly."""
        if not self.inside:
            raise ValueError("nobody is inside")
        self.inside -= 1
