"""What the sidecars of this host carry: the difference between what each reported now and some seconds ago. Pure.

Fed by the control socket with each report; asked by the API for `chowk stat`, `chowk top` and `intention suggest`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from chowk.connect.control import Report
from chowk.connect.stats.edges import CLASSES, EdgeTotals, PeerTotals
from chowk.connect.stats.histogram import BOUNDS_S, quantile
from chowk.core.records.base import Record

SPACING_S: Final = 1.0
"""A sidecar's reports that come closer together replace each other."""
WINDOW_S_MAX: Final = 60.0
PROXIES_MAX: Final = 1024
_EMPTY: Final = EdgeTotals(
    direction="",
    peer="",
    route="",
    requests=(0,) * len(CLASSES),
    durations=(0,) * (len(BOUNDS_S) + 1),
    duration_sum_s=0.0,
)


class EdgeRate(Record, frozen=True, kw_only=True):
    """One edge over a window. Requests a second; `success` is the share (0 to 1) that was answered below 500, None when
    there was no request; quantiles in seconds. `reasons` counts the sidecar's own answers in the window.
    """

    proxy_id: str
    service: str
    direction: str
    peer: str
    route: str
    requests_per_s: float
    success: float | None
    p50_s: float
    p95_s: float
    p99_s: float
    retries_per_s: float
    reasons: dict[str, int] = {}


class ConnectionRate(Record, frozen=True, kw_only=True):
    """Connections with one peer over a window, and since the sidecar started; see `PeerTotals`."""

    proxy_id: str
    service: str
    direction: str
    peer: str
    opened_per_s: float
    denied_per_s: float
    permitted_per_s: float
    failed_per_s: float
    opened: int
    denied: int
    permitted: int
    failed: int


class _Sample(msgspec.Struct, frozen=True):
    at: float
    edges: dict[tuple[str, str, str], EdgeTotals]
    peers: dict[tuple[str, str], PeerTotals]


class _History:
    """The samples of one sidecar's process."""

    def __init__(self, service: str, instance: str, now: float) -> None:
        self.service = service
        self.instance = instance
        self.samples = deque([_Sample(now - SPACING_S, {}, {})])

    def add(self, sample: _Sample) -> None:
        samples = self.samples
        if len(samples) > 1 and sample.at - samples[-2].at < SPACING_S:
            samples.pop()
        samples.append(sample)
        while len(samples) > 1 and samples[1].at <= sample.at - WINDOW_S_MAX:
            samples.popleft()

    def since(self, at: float) -> _Sample:
        """What was known at that time, or first."""
        return next((sample for sample in reversed(self.samples) if sample.at <= at), self.samples[0])


class Traffic:
    """The window over all sidecars of one agent."""

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}

    def note(self, service: str, report: Report, now: float) -> None:
        """A report of the sidecar of `service` came at `now` (monotonic seconds)."""
        history = self._histories.get(report.proxy_id)
        if history is None or history.instance != report.instance:
            if history is None and len(self._histories) >= PROXIES_MAX:
                return
            history = self._histories[report.proxy_id] = _History(service, report.instance, now)
        last = history.samples[-1]
        edges = {(each.direction, each.peer, each.route): each for each in report.edges}
        peers = {(each.direction, each.peer): each for each in report.peers}
        # What did not change is kept once, however many samples hold it.
        shared = {key: known if (known := last.edges.get(key)) == each else each for key, each in edges.items()}
        history.add(_Sample(now, shared, peers))

    def forget(self, proxy_id: str) -> None:
        """The sidecar is gone."""
        self._histories.pop(proxy_id, None)

    def edges(self, window_s: float, now: float) -> tuple[EdgeRate, ...]:
        """Each edge over the last `window_s` (at most WINDOW_S_MAX), in the order of the sidecars' ids."""
        found = []
        for proxy_id, history in sorted(self._histories.items()):
            newest, base, elapsed_s = _ends(history, window_s, now)
            for key, edge in sorted(newest.edges.items()):
                found.append(_edge_rate(proxy_id, history.service, edge, base.edges.get(key, _EMPTY), elapsed_s))
        return tuple(found)

    def connections(self, window_s: float, now: float) -> tuple[ConnectionRate, ...]:
        """Each peer over the last `window_s`."""
        found = []
        for proxy_id, history in sorted(self._histories.items()):
            newest, base, elapsed_s = _ends(history, window_s, now)
            for key, peer in sorted(newest.peers.items()):
                before = base.peers.get(key) or PeerTotals(direction="", peer="")
                found.append(
                    ConnectionRate(
                        proxy_id=proxy_id,
                        service=history.service,
                        direction=peer.direction,
                        peer=peer.peer,
                        opened_per_s=(peer.opened - before.opened) / elapsed_s,
                        denied_per_s=(peer.denied - before.denied) / elapsed_s,
                        permitted_per_s=(peer.permitted - before.permitted) / elapsed_s,
                        failed_per_s=(peer.failed - before.failed) / elapsed_s,
                        opened=peer.opened,
                        denied=peer.denied,
                        permitted=peer.permitted,
                        failed=peer.failed,
                    )
                )
        return tuple(found)


def _ends(history: _History, window_s: float, now: float) -> tuple[_Sample, _Sample, float]:
    window_s = min(window_s, WINDOW_S_MAX)
    base = history.since(now - window_s)
    return history.samples[-1], base, max(min(window_s, now - base.at), SPACING_S)


def _edge_rate(proxy_id: str, service: str, edge: EdgeTotals, before: EdgeTotals, elapsed_s: float) -> EdgeRate:
    requests = [new - old for new, old in zip(edge.requests, before.requests, strict=True)]
    durations = [new - old for new, old in zip(edge.durations, before.durations, strict=True)]
    total = sum(requests)
    failed = requests[CLASSES.index("none")] + requests[CLASSES.index("5xx")]
    reasons = {name: count - before.reasons.get(name, 0) for name, count in sorted(edge.reasons.items())}
    return EdgeRate(
        proxy_id=proxy_id,
        service=service,
        direction=edge.direction,
        peer=edge.peer,
        route=edge.route,
        requests_per_s=total / elapsed_s,
        success=(total - failed) / total if total else None,
        p50_s=quantile(durations, 0.5),
        p95_s=quantile(durations, 0.95),
        p99_s=quantile(durations, 0.99),
        retries_per_s=(edge.retries - before.retries) / elapsed_s,
        reasons={name: count for name, count in reasons.items() if count},
    )
