from __future__ import annotations

from prometheus_client.metrics_core import Metric

from chowk.agent.api.mesh_metrics import mesh_metrics
from chowk.connect.control import Report, UpstreamStatus
from chowk.connect.stats.edges import INBOUND, OUTBOUND, Edges


def report(edges: Edges) -> Report:
    return Report(
        proxy_id="p", instance="i", version=1, edges=edges.totals(), peers=edges.peer_totals(),
        edges_overflow_total=edges.overflow_total,
    )  # fmt: skip


def by_name(reports: list[tuple[str, Report]], edges_max: int = 500) -> dict[str, Metric]:
    return {family.name: family for family in mesh_metrics(reports, edges_max)}


def test_two_sidecars_of_a_service_are_one_series() -> None:
    reports = []
    for _ in range(2):
        edges = Edges()
        edges.edge(OUTBOUND, "db", "default").done(200, 0.004)
        reports.append(("web", report(edges)))
    families = by_name(reports)
    (sample,) = families["chowk_mesh_requests"].samples
    assert sample.labels == {
        "service": "web",
        "direction": "outbound",
        "peer": "db",
        "route": "default",
        "status": "2xx",
    }
    assert sample.value == 2
    durations = {s.labels.get("le"): s.value for s in families["chowk_mesh_request_duration_seconds"].samples}
    assert (durations["0.003"], durations["0.005"], durations["+Inf"]) == (0, 2, 2)


def test_reasons_and_connections_are_told() -> None:
    edges = Edges()
    edges.edge(INBOUND, "web").done(429, 0.0, "rate-limited")
    edges.peer(INBOUND, "web").denied += 4
    edges.peer(INBOUND, "api").permitted += 2
    families = by_name([("db", report(edges))])
    (reason,) = families["chowk_mesh_refusals"].samples
    assert (reason.labels["reason"], reason.value) == ("rate-limited", 1)
    denied = {s.labels["peer"]: s.value for s in families["chowk_mesh_connections_denied"].samples}
    permitted = {s.labels["peer"]: s.value for s in families["chowk_mesh_connections_permitted"].samples}
    assert (denied, permitted) == ({"api": 0, "web": 4}, {"api": 2, "web": 0})


def test_a_host_whose_labels_leak_has_a_bounded_number_of_series_and_says_so() -> None:
    reports = []
    for number in range(40):
        edges = Edges(edges_max=10)
        for leak in range(100):
            edges.edge(INBOUND, f"caller-{number}-{leak}", "default").done(200, 0.001)
            edges.peer(INBOUND, f"caller-{number}-{leak}").opened += 1
        reports.append((f"service-{number}", report(edges)))
    families = by_name(reports, edges_max=50)
    assert len(families["chowk_mesh_requests"].samples) <= 51
    assert len(families["chowk_mesh_connections_opened"].samples) <= 51
    assert len(families["chowk_mesh_sent_bytes"].samples) == 40
    assert len(by_name(reports, edges_max=20)["chowk_mesh_sent_bytes"].samples) == 21
    assert sum(s.value for s in families["chowk_mesh_requests"].samples) == 4000
    (overflow,) = families["chowk_mesh_series_overflow"].samples
    assert overflow.value > 3000


def test_instances_that_are_left_out_are_counted_by_upstream() -> None:
    def told(ejected: int, total: int) -> Report:
        upstream = UpstreamStatus(name="db", ejected=ejected, ejections_total=total)
        return Report(proxy_id="p", instance="i", version=1, upstreams=(upstream,))

    families = by_name([("web", told(2, 7)), ("web", told(1, 1))])
    (now,) = families["chowk_mesh_ejected_instances"].samples
    (total,) = families["chowk_mesh_ejections"].samples
    assert now.labels == total.labels == {"service": "web", "upstream": "db"}
    assert (now.value, total.value) == (3, 8)


def test_bytes_are_told_both_ways_by_upstream() -> None:
    upstream = UpstreamStatus(name="db", bytes_sent_total=5, bytes_received_total=70)
    told = Report(
        proxy_id="p", instance="i", version=1, upstreams=(upstream,), bytes_sent_total=3, bytes_received_total=2
    )
    families = by_name([("web", told), ("web", told)])

    def values(name: str) -> dict[tuple[str, str], float]:
        return {(s.labels["direction"], s.labels["upstream"]): s.value for s in families[name].samples}

    assert values("chowk_mesh_sent_bytes") == {("inbound", ""): 6, ("outbound", "db"): 10}
    assert values("chowk_mesh_received_bytes") == {("inbound", ""): 4, ("outbound", "db"): 140}
