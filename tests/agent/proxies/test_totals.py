"""Sums over a host's sidecars never fall: not when one restarts, not when one goes."""

from __future__ import annotations

from msgspec.structs import replace

from chowk.agent.api.mesh_metrics import mesh_metrics
from chowk.agent.proxies.totals import PROXIES_MAX, SERVICES_MAX, Totals
from chowk.connect.control import Report, UpstreamStatus
from chowk.connect.stats.edges import INBOUND, OUTBOUND, Edges


def report(proxy: str = "api-1", instance: str = "a", requests: int = 0) -> Report:
    edges = Edges()
    for _ in range(requests):
        edges.edge(INBOUND, "web", "default").done(503, 0.01, "overloaded")
    edges.edge(INBOUND, "web", "default").retries += requests
    edges.peer(INBOUND, "web").opened += requests
    upstream = UpstreamStatus(name="db", ejected=1, ejections_total=requests, bytes_sent_total=requests)
    return Report(
        proxy_id=proxy, instance=instance, version=1, edges=edges.totals(), peers=edges.peer_totals(),
        inbound_denied_total=requests, handshake_failures_total=requests, upstreams=(upstream,),
        inbound_connections_open=5, bytes_received_total=requests,
    )  # fmt: skip


def total(totals: Totals, name: str) -> float:
    return sum(
        sample.value for family in mesh_metrics(totals.reports()) for sample in family.samples if sample.name == name
    )


def test_a_sidecar_that_starts_again_is_counted_on() -> None:
    totals = Totals()
    totals.note("api", report("api-1", "a", 7))
    totals.note("api", report("api-2", "a", 3))
    totals.ended("api-1")
    for instance, requests in (("b", 0), ("b", 2), ("c", 1)):
        totals.note("api", report("api-1", instance, requests))
    for name in (
        "chowk_mesh_requests_total", "chowk_mesh_retries_total", "chowk_mesh_refusals_total",
        "chowk_mesh_connections_opened_total", "chowk_mesh_ejections_total", "chowk_mesh_request_duration_seconds_count",
        "chowk_mesh_sent_bytes_total", "chowk_mesh_received_bytes_total",
    ):  # fmt: skip
        assert total(totals, name) == 7 + 3 + 2 + 1, name
    assert sum(each.inbound_denied_total for _, each in totals.reports()) == 13
    assert sum(each.handshake_failures_total for _, each in totals.reports()) == 13
    assert total(totals, "chowk_mesh_ejected_instances") == 2, "of those that are there"


def test_what_is_gone_has_nothing_open_and_what_comes_back_is_not_counted_twice() -> None:
    totals = Totals()
    totals.note("api", report(requests=7))
    totals.ended("api-1")
    totals.ended("unknown")
    assert [each.inbound_connections_open for _, each in totals.reports()] == [0]
    assert total(totals, "chowk_mesh_requests_total") == 7
    assert total(totals, "chowk_mesh_ejected_instances") == 0
    totals.note("api", report(requests=8))
    assert total(totals, "chowk_mesh_requests_total") == 8
    assert [each.inbound_connections_open for _, each in totals.reports()] == [5]


def test_another_service_behind_the_same_id_keeps_the_counts_of_both() -> None:
    totals = Totals()
    totals.note("api", report(requests=7))
    totals.note("db", replace(report(requests=1), edges=()))
    assert {service for service, _ in totals.reports()} == {"api", "db"}


def test_what_is_kept_is_bounded() -> None:
    totals = Totals()
    for number in range(PROXIES_MAX + SERVICES_MAX + 100):
        totals.note(f"service-{number}", report(f"proxy-{number}", "a", 1))
    assert len(list(totals.reports())) == PROXIES_MAX + SERVICES_MAX


def test_edges_of_different_names_stay_apart() -> None:
    totals = Totals()
    other = Edges()
    other.edge(OUTBOUND, "db", "default").done(200, 0.01)
    totals.note("api", report(requests=2))
    totals.note("api", replace(report(instance="b"), edges=other.totals()))
    totals.note("api", report(instance="c"))
    assert total(totals, "chowk_mesh_requests_total") == 3
