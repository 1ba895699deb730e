from __future__ import annotations

from chowk.connect.stats.edges import INBOUND, OTHER, OUTBOUND, Edges


def test_an_edge_counts_by_class_of_status() -> None:
    edges = Edges()
    for status in (200, 204, 302, 404, 503, 0, 101, 999):
        edges.edge(OUTBOUND, "db", "default").done(status, 0.01)
    (totals,) = edges.totals()
    assert totals.requests == (2, 1, 2, 1, 1, 1)
    assert sum(totals.durations) == 8


def test_the_proxys_own_answers_are_counted_by_their_reason() -> None:
    edges = Edges()
    edge = edges.edge(INBOUND, "web")
    edge.done(503, 0.0, "no-healthy-instance")
    edge.done(503, 0.0, "no-healthy-instance")
    edge.done(503, 0.0)
    assert edges.totals()[0].reasons == {"no-healthy-instance": 2}


def test_a_label_that_grows_without_end_falls_into_the_overflow_edge() -> None:
    edges = Edges(edges_max=4)
    for number in range(1000):
        edges.edge(INBOUND, f"caller-{number}").done(200, 0.001)
    totals = edges.totals()
    assert len(totals) == 5
    other = next(each for each in totals if each.peer == OTHER)
    assert sum(other.requests) == 996 == edges.overflow_total


def test_an_edge_that_is_there_is_found_again_when_the_table_is_full() -> None:
    edges = Edges(edges_max=1)
    first = edges.edge(OUTBOUND, "db")
    edges.edge(OUTBOUND, "cache")
    assert edges.edge(OUTBOUND, "db") is first
    assert edges.overflow_total == 1


def test_connections_are_counted_by_peer_with_the_same_cap() -> None:
    edges = Edges(edges_max=2)
    for name in ("web", "api", "stranger", "web", "another"):
        peer = edges.peer(INBOUND, name)
        peer.opened += 1
    edges.peer(INBOUND, "web").denied += 1
    edges.peer(INBOUND, "api").permitted += 1
    told = {each.peer: (each.opened, each.denied, each.permitted) for each in edges.peer_totals()}
    assert told == {"web": (2, 1, 0), "api": (1, 0, 1), OTHER: (2, 0, 0)}
