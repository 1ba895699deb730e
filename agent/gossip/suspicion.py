"""Lifeguard's dynamic suspicion timeout (section IV-B): long at first, shorter as others, on their own, suspect the same."""

from __future__ import annotations

import math


class Suspicion:
    """Of one member, from `start` on; `confirm(by)` for each that says the same. The first, `by`, never counts again."""

    def __init__(self, by: str, start: float, bounds: tuple[float, float], wanted: int) -> None:
        self.by = by
        self.start = start
        self._shortest_s, self._longest_s = bounds
        self._wanted = wanted
        self._accusers = {by}

    @property
    def confirmations(self) -> int:
        """Independent ones, beside the first accuser."""
        return len(self._accusers) - 1

    def confirm(self, by: str) -> bool:
        """Whether this is news: one more accuser, of those that still matter."""
        if self.confirmations >= self._wanted or by in self._accusers:
            return False
        self._accusers.add(by)
        return True

    def deadline(self) -> float:
        """When it becomes a verdict: max(min, max - (max - min) * log(C + 1) / log(K + 1)) after its start."""
        if self._wanted == 0:
            return self.start + self._shortest_s
        share = math.log(self.confirmations + 1) / math.log(self._wanted + 1)
        timeout = self._longest_s - (self._longest_s - self._shortest_s) * share
        return self.start + max(self._shortest_s, timeout)
