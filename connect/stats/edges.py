"""Requests by edge: which service called which, by which route, and what came of it; connections by peer. Pure; fed by
`connect.proxy`.

Labels come from configuration and proven identities, never from what a request says; yet both can grow. So a table holds
at most EDGES_MAX edges: what comes after is counted under OTHER, and how often that was is counted too.
"""

from __future__ import annotations

from typing import Final

import msgspec

from chowk.connect.stats.histogram import Histogram

EDGES_MAX: Final = 256
OTHER: Final = "(other)"
INBOUND: Final = "inbound"
OUTBOUND: Final = "outbound"
CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
"""What came of a request. `none`: the connection was cut, or the caller left, before there was an answer; or the answer was
cut before its end.
"""


class EdgeTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of one edge since the proxy started. `peer` is the other service; `requests` by CLASSES; `durations` by bucket
    of `histogram.BOUNDS_S`; `reasons` counts the answers that the proxy made itself, by its error names.
    """

    direction: str
    peer: str
    route: str
    requests: tuple[int, ...]
    durations: tuple[int, ...]
    duration_sum_s: float
    reasons: dict[str, int] = {}
    retries: int = 0


class PeerTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Connections with one other service since the proxy started. `denied` by intentions; `permitted` were let through
    although intentions deny them, because the service only watches (permissive) or is in a bypass. Outbound ones are counted
    where they carry TCP: `failed` found no instance, or were cut by the far end before a byte of answer.
    """

    direction: str
    peer: str
    opened: int = 0
    denied: int = 0
    permitted: int = 0
    failed: int = 0


class Peer:
    """The counters of one peer, kept by whoever serves it."""

    __slots__ = ("denied", "direction", "failed", "opened", "peer", "permitted")

    def __init__(self, direction: str, peer: str) -> None:
        self.direction = direction
        self.peer = peer
        self.opened = self.denied = self.permitted = self.failed = 0

    def totals(self) -> PeerTotals:
        """As they are now."""
        return PeerTotals(
            direction=self.direction,
            peer=self.peer,
            opened=self.opened,
            denied=self.denied,
            permitted=self.permitted,
            failed=self.failed,
        )


class Edge:
    """The counters of one edge; kept by whoever serves it, so that a request costs no lookup."""

    __slots__ = ("direction", "durations", "peer", "reasons", "requests", "retries", "route")

    def __init__(self, direction: str, peer: str, route: str) -> None:
        self.direction = direction
        self.peer = peer
        self.route = route
        self.requests = [0] * len(CLASSES)
        self.durations = Histogram()
        self.reasons: dict[str, int] = {}
        self.retries = 0

    def done(self, status: int, duration_s: float, reason: str = "") -> None:
        """A request ended with `status` (0: without an answer). `reason` is the proxy's own error, of a closed set."""
        family = status // 100
        self.requests[family if 0 < family < len(CLASSES) else 0] += 1
        self.durations.add(duration_s)
        if reason:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def totals(self) -> EdgeTotals:
        """As they are now."""
        return EdgeTotals(
            direction=self.direction,
            peer=self.peer,
            route=self.route,
            requests=tuple(self.requests),
            durations=tuple(self.durations.counts),
            duration_sum_s=self.durations.sum_s,
            reasons=dict(self.reasons),
            retries=self.retries,
        )


class Edges:
    """All edges of one proxy, and all peers; at most `edges_max` of each."""

    def __init__(self, edges_max: int = EDGES_MAX) -> None:
        self._edges: dict[tuple[str, str, str], Edge] = {}
        self._peers: dict[tuple[str, str], Peer] = {}
        self._edges_max = edges_max
        self.overflow_total = 0

    def edge(self, direction: str, peer: str, route: str = "") -> Edge:
        """The counters of this edge, or of OTHER in its direction when there is no room for one more."""
        found = self._edges.get((direction, peer, route))
        if found is not None:
            return found
        if len(self._edges) >= self._edges_max:
            self.overflow_total += 1
            peer = route = OTHER
        return self._edges.setdefault((direction, peer, route), Edge(direction, peer, route))

    def peer(self, direction: str, peer: str) -> Peer:
        """The counters of this peer, or of OTHER in its direction when there is no room for one more."""
        found = self._peers.get((direction, peer))
        if found is not None:
            return found
        if len(self._peers) >= self._edges_max:
            self.overflow_total += 1
            peer = OTHER
        return self._peers.setdefault((direction, peer), Peer(direction, peer))

    def peer_totals(self) -> tuple[PeerTotals, ...]:
        """Of every peer, in the order of their names."""
        return tuple(self._peers[key].totals() for key in sorted(self._peers))

    def totals(self) -> tuple[EdgeTotals, ...]:
        """Of every edge, in the order of their names."""
        return tuple(self._edges[key].totals() for key in sorted(self._edges))
