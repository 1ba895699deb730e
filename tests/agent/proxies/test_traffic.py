from __future__ import annotations

import pytest

from chowk.agent.proxies.traffic import PROXIES_MAX, Traffic
from chowk.connect.control import Report
from chowk.connect.stats.edges import OUTBOUND, Edges


class Sidecar:
    """A proxy that counts and reports."""

    def __init__(self, traffic: Traffic, service: str = "web", instance: str = "a") -> None:
        self.traffic = traffic
        self.service = service
        self.instance = instance
        self.edges = Edges()

    def serve(self, requests: int, *, status: int = 200, duration_s: float = 0.01, reason: str = "") -> None:
        edge = self.edges.edge(OUTBOUND, "db", "default")
        for _ in range(requests):
            edge.done(status, duration_s, reason)
        self.edges.peer(OUTBOUND, "db").opened += 1

    def report(self, now: float) -> None:
        report = Report(
            proxy_id=f"{self.service}-proxy",
            instance=self.instance,
            version=1,
            edges=self.edges.totals(),
            peers=self.edges.peer_totals(),
        )
        self.traffic.note(self.service, report, now)


def test_a_rate_is_the_difference_over_the_window() -> None:
    traffic = Traffic()
    web = Sidecar(traffic)
    for second in range(100, 131):
        web.serve(50)
        web.report(float(second))
    (rate,) = traffic.edges(10.0, 130.0)
    assert rate.requests_per_s == pytest.approx(50.0)
    assert rate.success == 1.0
    assert 0.0075 <= rate.p50_s <= rate.p99_s <= 0.01


def test_a_sidecar_that_has_just_begun_is_told_over_the_time_it_ran() -> None:
    traffic = Traffic()
    web = Sidecar(traffic)
    web.serve(30)
    web.report(100.0)
    (rate,) = traffic.edges(10.0, 102.0)
    assert rate.requests_per_s == pytest.approx(10.0)


def test_an_edge_that_fell_silent_has_no_rate_and_no_success() -> None:
    traffic = Traffic()
    web = Sidecar(traffic)
    web.serve(30)
    web.report(100.0)
    (rate,) = traffic.edges(10.0, 150.0)
    assert (rate.requests_per_s, rate.success, rate.p99_s) == (0.0, None, 0.0)


def test_success_counts_server_errors_and_cut_connections_as_failures() -> None:
    traffic = Traffic()
    web = Sidecar(traffic)
    web.serve(6, status=404)
    web.serve(2, status=503, reason="no-healthy-instance")
    web.serve(2, status=0)
    web.report(100.0)
    (rate,) = traffic.edges(10.0, 100.0)
    assert rate.success == pytest.approx(0.6)
    assert rate.reasons == {"no-healthy-instance": 2}


def test_a_proxy_that_was_started_again_begins_anew() -> None:
    traffic = Traffic()
    Sidecar(traffic).report(100.0)
    old = Sidecar(traffic)
    old.serve(1000)
    old.report(101.0)
    new = Sidecar(traffic, instance="b")
    new.serve(5)
    new.report(102.0)
    (rate,) = traffic.edges(10.0, 102.0)
    assert rate.requests_per_s == pytest.approx(5.0)
    (peer,) = traffic.connections(10.0, 102.0)
    assert peer.opened == 1


def test_what_is_gone_is_forgotten_and_strangers_without_end_are_not_kept() -> None:
    traffic = Traffic()
    for number in range(PROXIES_MAX + 10):
        sidecar = Sidecar(traffic, service=f"s{number}")
        sidecar.serve(1)
        sidecar.report(100.0)
    assert len(traffic.edges(10.0, 100.0)) == PROXIES_MAX
    traffic.forget("s0-proxy")
    assert len(traffic.edges(10.0, 100.0)) == PROXIES_MAX - 1


def test_a_sidecar_that_reports_in_haste_keeps_few_samples() -> None:
    traffic = Traffic()
    web = Sidecar(traffic)
    for step in range(6000):
        web.serve(1)
        web.report(100.0 + step / 20)
    (rate,) = traffic.edges(60.0, 400.0)
    assert rate.requests_per_s == pytest.approx(20.0, rel=0.05)
    assert len(traffic._histories["web-proxy"].samples) < 100
