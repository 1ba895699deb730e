"""The mesh's metrics for Prometheus: what the sidecars of this host carried, by edge. Pure; asked by `agent_metrics`.

Labels are names of services and of routes, classes of status, and the sidecars' own reasons: closed sets, none of which a
request can choose. Each sidecar bounds its edges; here all of them together are bounded once more, so that no host can
flood what stores them: beyond EDGES_MAX an edge is added to `(other)`, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from chowk.connect.control import Report, UpstreamStatus
from chowk.connect.stats.edges import CLASSES, INBOUND, OTHER, OUTBOUND, EdgeTotals
from chowk.connect.stats.histogram import BOUNDS_S

EDGES_MAX: Final = 500
"""Edges of one host that have series of their own; each has up to 40."""
_LABELS: Final = ["service", "direction", "peer", "route"]
_Key = tuple[str, str, str, str]
_Way = tuple[str, str, str]


class _Sum:
    """The totals of one edge over the sidecars of a service."""

    def __init__(self) -> None:
        self.requests = [0] * len(CLASSES)
        self.durations = [0] * (len(BOUNDS_S) + 1)
        self.duration_sum_s = 0.0
        self.retries = 0

    def add(self, edge: EdgeTotals) -> None:
        self.requests = [a + b for a, b in zip(self.requests, edge.requests, strict=True)]
        self.durations = [a + b for a, b in zip(self.durations, edge.durations, strict=True)]
        self.duration_sum_s += edge.duration_sum_s
        self.retries += edge.retries


def mesh_metrics(reports: Iterable[tuple[str, Report]], edges_max: int = EDGES_MAX) -> Iterator[Metric]:
    """The families, from each sidecar's service and its last report."""
    sums: dict[_Key, _Sum] = {}
    reasons: dict[tuple[str, str, str], int] = {}
    connections: dict[tuple[str, str, str], list[int]] = {}
    ejections: dict[tuple[str, str], list[int]] = {}
    carried: dict[_Way, list[int]] = {}
    overflow = 0
    for service, report in reports:
        overflow += report.edges_overflow_total
        for edge in report.edges:
            key = (service, edge.direction, edge.peer, edge.route)
            if key not in sums and len(sums) >= edges_max:
                overflow += 1
                key = (OTHER, edge.direction, OTHER, OTHER)
            sums.setdefault(key, _Sum()).add(edge)
            for reason, count in edge.reasons.items():
                cause = (key[0], edge.direction, reason)
                reasons[cause] = reasons.get(cause, 0) + count
        for peer in report.peers:
            pair = (service, peer.direction, peer.peer)
            if pair not in connections and len(connections) >= edges_max:
                overflow += 1
                pair = (OTHER, peer.direction, OTHER)
            counts = connections.setdefault(pair, [0, 0, 0, 0])
            for at, count in enumerate((peer.opened, peer.denied, peer.permitted, peer.failed)):
                counts[at] += count
        _carry(carried, edges_max, (service, INBOUND, ""), report)
        for upstream in report.upstreams:
            to = (service, upstream.name)
            if to not in ejections and len(ejections) >= edges_max:
                overflow += 1
                to = (OTHER, OTHER)
            told = ejections.setdefault(to, [0, 0])
            told[0] += upstream.ejected
            told[1] += upstream.ejections_total
            _carry(carried, edges_max, (to[0], OUTBOUND, to[1]), upstream)
    yield from _requests(sums)
    yield from _reasons(reasons)
    yield from _connections(connections)
    yield from _ejections(ejections)
    yield from _bytes(carried)
    text = "Edges and peers that found no series of their own, and were counted under (other)."
    yield CounterMetricFamily("chowk_mesh_series_overflow", text, value=overflow)


def _carry(carried: dict[_Way, list[int]], most: int, key: _Way, counted: Report | UpstreamStatus) -> None:
    if key not in carried and len(carried) >= most:
        key = (OTHER, key[1], OTHER)
    told = carried.setdefault(key, [0, 0])
    told[0] += counted.bytes_sent_total
    told[1] += counted.bytes_received_total


def _requests(sums: dict[_Key, _Sum]) -> Iterator[Metric]:
    requests = CounterMetricFamily("chowk_mesh_requests", "Requests by class of status.", labels=[*_LABELS, "status"])
    retries = CounterMetricFamily("chowk_mesh_retries", "Requests that were sent once more.", labels=_LABELS)
    durations = HistogramMetricFamily(
        "chowk_mesh_request_duration_seconds", "From a request's head to the end of its answer.", labels=_LABELS
    )
    for key, total in sorted(sums.items()):
        for family, count in zip(CLASSES, total.requests, strict=True):
            if count:
                requests.add_metric([*key, family], count)
        retries.add_metric(key, total.retries)
        cumulative, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), total.durations, strict=True):
            cumulative += count
            buckets.append((bound, float(cumulative)))
        durations.add_metric(key, buckets, sum_value=total.duration_sum_s)
    yield from (requests, retries, durations)


def _reasons(reasons: dict[tuple[str, str, str], int]) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "chowk_mesh_refusals", "Answers that sidecars made themselves.", labels=["service", "direction", "reason"]
    )
    for key, count in sorted(reasons.items()):
        family.add_metric(key, count)
    yield family


def _connections(connections: dict[tuple[str, str, str], list[int]]) -> Iterator[Metric]:
    for at, (name, text) in enumerate(
        (
            ("opened", "Connections that were let through."),
            ("denied", "Connections that intentions denied."),
            ("permitted", "Connections that intentions would deny, let through by a permissive service or a bypass."),
            ("failed", "Connections that found no instance, or were cut before a byte of answer."),
        )
    ):
        family = CounterMetricFamily(f"chowk_mesh_connections_{name}", text, labels=["service", "direction", "peer"])
        for key, counts in sorted(connections.items()):
            family.add_metric(key, counts[at])
        yield family


def _ejections(ejections: dict[tuple[str, str], list[int]]) -> Iterator[Metric]:
    labels = ["service", "upstream"]
    now = GaugeMetricFamily("chowk_mesh_ejected_instances", "Instances that are left out now.", labels=labels)
    text = "Times that an instance was left out for failing, or for not being there."
    total = CounterMetricFamily("chowk_mesh_ejections", text, labels=labels)
    for key, (ejected, since_start) in sorted(ejections.items()):
        now.add_metric(key, ejected)
        total.add_metric(key, since_start)
    yield from (now, total)


def _bytes(carried: dict[_Way, list[int]]) -> Iterator[Metric]:
    for at, way in enumerate(("sent", "received")):
        family = CounterMetricFamily(
            f"chowk_mesh_{way}_bytes",
            f"Bytes of content {way} over the mesh, without what TLS adds.",
            labels=["service", "direction", "upstream"],
        )
        for key, counts in sorted(carried.items()):
            family.add_metric(key, counts[at])
        yield family
