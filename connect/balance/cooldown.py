"""Instances whose dial failed just now are avoided for a moment, longer each time. Pure; fed by upstreams.

It only bridges the time until the registry's health checks tell the truth, so the longest pause is short.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

PAUSE_S_MIN: Final = 0.5
PAUSE_S_MAX: Final = 8.0


class Cooldown:
    """Failures by endpoint key. `keep` must be called when endpoints change; it bounds the memory."""

    def __init__(self) -> None:
        self._failing: dict[str, tuple[int, float]] = {}

    def failed(self, key: str, now: float) -> None:
        """A dial of `key` failed at `now` (seconds). While it is paused already, further failures change nothing."""
        failures, until = self._failing.get(key, (0, 0.0))
        if now >= until:
            pause = min(PAUSE_S_MIN * 2 ** min(failures, 10), PAUSE_S_MAX)
            self._failing[key] = (failures + 1, now + pause)

    def succeeded(self, key: str) -> None:
        """A dial of `key` worked: its failures are forgotten."""
        self._failing.pop(key, None)

    def avoided(self, now: float) -> set[str]:
        """The keys to avoid at `now`."""
        return {key for key, (_failures, until) in self._failing.items() if now < until}

    def keep(self, keys: Collection[str]) -> None:
        """Forget all others."""
        self._failing = {key: value for key, value in self._failing.items() if key in keys}
