"""Sidecars that hold their ports and do not say how they are: frozen, or stuck. Pure; asked by the supervisor at each look.

A connection to such a one is taken by the kernel and never answered, so checks of its port pass. Silence is measured in
looks, not in time: a machine that slept, or an agent that was held up, has not looked meanwhile and blames nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from chowk.connect.control import Report

LOOK_S: Final = 0.5
SILENT_LOOKS: Final = 60
"""30 s: a sidecar reports each 10 s, if nothing changes."""
HUNG_LOOKS: Final = 120
APART_LOOKS: Final = 20
"""Between two that are ended: what made one of them hang may make others."""


class Found(NamedTuple):
    """What a look found: ids of those that have just fallen silent, that speak again, and the one to end, or ""."""

    silent: tuple[str, ...]
    back: tuple[str, ...]
    hung: str


class Silence:
    """`look` is told the last report of each attached sidecar (None: none yet)."""

    def __init__(self) -> None:
        self._last: dict[str, Report | None] = {}
        self._looks: dict[str, int] = {}
        self._looked_at = -LOOK_S
        self._rest = 0

    def silent(self, proxy_id: str) -> bool:
        """Whether it has said nothing for long."""
        return self._looks.get(proxy_id, 0) >= SILENT_LOOKS

    def look(self, reports: Mapping[str, Report | None], now: float) -> Found:
        """To be called often; looks that follow at once count as one."""
        if now - self._looked_at < LOOK_S * 0.8:
            return Found((), (), "")
        self._looked_at = now
        self._rest = max(0, self._rest - 1)
        before, self._looks = self._looks, {}
        for proxy_id, report in reports.items():
            same = proxy_id in self._last and self._last[proxy_id] is report
            self._looks[proxy_id] = before.get(proxy_id, 0) + 1 if same else 0
        self._last = dict(reports)
        hung = next((each for each, looks in self._looks.items() if looks >= HUNG_LOOKS and not self._rest), "")
        if hung:
            self._looks[hung] = SILENT_LOOKS  # should it live on, it is ended again in a while
            self._rest = APART_LOOKS
        return Found(
            tuple(each for each, looks in self._looks.items() if looks == SILENT_LOOKS and each != hung),
            tuple(each for each, looks in self._looks.items() if not looks and before.get(each, 0) >= SILENT_LOOKS),
            hung,
        )
