"""What the sidecars of this host have counted since the agent started, those that are gone too. Pure.

Counters for Prometheus may only grow: a sum over the sidecars that run now falls when one of them restarts, which reads as
if everything were counted once more. Fed by the control socket with each report; asked by `agent_metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from chowk.connect.control import Report, UpstreamStatus
from chowk.connect.stats.edges import EdgeTotals, PeerTotals

PROXIES_MAX: Final = 1024
SERVICES_MAX: Final = 512
"""Services whose sidecars are gone; of more, the ones that were first are forgotten."""


class Totals:
    """The last report of each sidecar, and the sum of what those counted whose process is no more, by service."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, Report, bool]] = {}
        self._gone: dict[str, Report] = {}

    def note(self, service: str, report: Report) -> None:
        """A report of the sidecar of `service` came."""
        known = self._last.pop(report.proxy_id, None)
        if known is not None and (known[0], known[1].instance) != (service, report.instance):
            self._retire(known[0], known[1])
        while len(self._last) >= PROXIES_MAX:
            oldest = next(iter(self._last))
            self._retire(*self._last.pop(oldest)[:2])
        self._last[report.proxy_id] = (service, report, True)

    def ended(self, proxy_id: str) -> None:
        """The sidecar is attached no more; its counts stay, what it has open does not. It may come back as it was."""
        if proxy_id in self._last:
            service, report, _live = self._last[proxy_id]
            self._last[proxy_id] = (service, report, False)

    def reports(self) -> Iterator[tuple[str, Report]]:
        """Services with reports whose sums only grow."""
        for service, report, live in self._last.values():
            yield service, report if live else _counters(report)
        yield from self._gone.items()

    def _retire(self, service: str, report: Report) -> None:
        before = self._gone.pop(service, None)
        while len(self._gone) >= SERVICES_MAX:
            del self._gone[next(iter(self._gone))]
        counted = _counters(report)
        self._gone[service] = counted if before is None else _sum(before, counted)


def _counters(report: Report) -> Report:
    """Only what grows."""
    return Report(
        proxy_id="",
        instance="",
        version=0,
        inbound_denied_total=report.inbound_denied_total,
        handshake_failures_total=report.handshake_failures_total,
        bytes_received_total=report.bytes_received_total,
        bytes_sent_total=report.bytes_sent_total,
        upstreams=tuple(_upstream_counters(upstream) for upstream in report.upstreams),
        edges=report.edges,
        peers=report.peers,
        edges_overflow_total=report.edges_overflow_total,
    )


def _upstream_counters(upstream: UpstreamStatus) -> UpstreamStatus:
    return UpstreamStatus(
        name=upstream.name,
        bytes_sent_total=upstream.bytes_sent_total,
        bytes_received_total=upstream.bytes_received_total,
        ejections_total=upstream.ejections_total,
    )


def _upstream_sum(a: UpstreamStatus, b: UpstreamStatus) -> UpstreamStatus:
    return replace(
        a,
        bytes_sent_total=a.bytes_sent_total + b.bytes_sent_total,
        bytes_received_total=a.bytes_received_total + b.bytes_received_total,
        ejections_total=a.ejections_total + b.ejections_total,
    )


def _sum(a: Report, b: Report) -> Report:
    edges = {(each.direction, each.peer, each.route): each for each in a.edges}
    for edge in b.edges:
        edge_key = (edge.direction, edge.peer, edge.route)
        edges[edge_key] = _edge_sum(edges[edge_key], edge) if edge_key in edges else edge
    peers = {(each.direction, each.peer): each for each in a.peers}
    for peer in b.peers:
        peer_key = (peer.direction, peer.peer)
        peers[peer_key] = _peer_sum(peers[peer_key], peer) if peer_key in peers else peer
    upstreams = {each.name: each for each in a.upstreams}
    for upstream in b.upstreams:
        name = upstream.name
        upstreams[name] = _upstream_sum(upstreams[name], upstream) if name in upstreams else upstream
    return replace(
        a,
        inbound_denied_total=a.inbound_denied_total + b.inbound_denied_total,
        handshake_failures_total=a.handshake_failures_total + b.handshake_failures_total,
        bytes_received_total=a.bytes_received_total + b.bytes_received_total,
        bytes_sent_total=a.bytes_sent_total + b.bytes_sent_total,
        upstreams=tuple(upstreams.values()),
        edges=tuple(edges.values()),
        peers=tuple(peers.values()),
        edges_overflow_total=a.edges_overflow_total + b.edges_overflow_total,
    )


def _edge_sum(a: EdgeTotals, b: EdgeTotals) -> EdgeTotals:
    return replace(
        a,
        requests=tuple(x + y for x, y in zip(a.requests, b.requests, strict=True)),
        durations=tuple(x + y for x, y in zip(a.durations, b.durations, strict=True)),
        duration_sum_s=a.duration_sum_s + b.duration_sum_s,
        reasons={name: a.reasons.get(name, 0) + b.reasons.get(name, 0) for name in {**a.reasons, **b.reasons}},
        retries=a.retries + b.retries,
    )


def _peer_sum(a: PeerTotals, b: PeerTotals) -> PeerTotals:
    return replace(
        a,
        opened=a.opened + b.opened,
        denied=a.denied + b.denied,
        permitted=a.permitted + b.permitted,
        failed=a.failed + b.failed,
    )
