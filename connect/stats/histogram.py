"""Durations in buckets, and the quantiles that they tell. Pure; used by `edges` and by whoever shows them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

BOUNDS_S: Final = (
    0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02,
    0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds in seconds; one more bucket holds what is longer. Dense where a mesh hop shows."""


class Histogram:
    """How many durations fell into each bucket, and their sum in seconds."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, duration_s: float) -> None:
        """One more. A bound belongs to its own bucket, as in Prometheus (`le`)."""
        self.counts[bisect_left(BOUNDS_S, duration_s)] += 1
        self.sum_s += duration_s


def quantile(counts: Sequence[int], q: float) -> float:
    """The duration in seconds that the share `q` of them does not exceed, as if spread evenly in their bucket.

    0.0 when there are none; the last bound when it lies beyond it: it is then at least that.
    """
    wanted = sum(counts) * q
    passed, low = 0, 0.0
    for high, count in zip(BOUNDS_S, counts, strict=False):
        if count and passed + count >= wanted:
            return low + (high - low) * (wanted - passed) / count
        passed += count
        low = high
    return low if passed < sum(counts) else 0.0
