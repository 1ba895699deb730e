"""Lifeguard's local health (section IV-A): how much this agent doubts itself before it doubts others."""

from __future__ import annotations


class Awareness:
    """`score` 0 is healthy. It rises when own probes fail without a word from the helpers, when others suspect us, when we
    were stalled; it falls with each probe that is answered. Timeouts grow with it.
    """

    def __init__(self, max_score: int) -> None:
        self._max_score = max_score
        self.score = 0

    def apply(self, delta: int) -> None:
        """Worse (positive) or better (negative)."""
        self.score = min(self._max_score, max(0, self.score + delta))

    def scale(self, seconds: float) -> float:
        """A timeout, at the present health."""
        return seconds * (self.score + 1)
