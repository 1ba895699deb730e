"""agent.commands.traffic_table."""

from __future__ import annotations

from typing import Any

from chowk.agent.commands.traffic_table import connection_rows, duration, request_rows


def edge(proxy: str, service: str, **fields: Any) -> dict[str, Any]:
    return {
        "ProxyID": proxy, "Service": service, "Direction": "inbound", "Peer": "web", "Route": "", "RequestsPerS": 1.0,
        "Success": 1.0, "P50S": 0.001, "P95S": 0.01, "P99S": 0.1, "RetriesPerS": 0.0, **fields,
    }  # fmt: skip


def peer(proxy: str, service: str) -> dict[str, Any]:
    rates = dict.fromkeys(("OpenedPerS", "FailedPerS", "DeniedPerS", "PermittedPerS"), 0.0)
    return {"ProxyID": proxy, "Service": service, "Direction": "inbound", "Peer": "web", **rates}


def test_a_service_with_several_sidecars_on_the_host_names_them() -> None:
    one, two, db = "api1-sidecar-proxy", "api2-sidecar-proxy", "db-sidecar-proxy"
    names = ["SERVICE", f"api ({one})", f"api ({two})", "db"]
    rows = request_rows([edge(db, "db"), edge(two, "api"), edge(one, "api")], "name")
    assert sorted(row[0] for row in rows) == sorted(names)
    assert [row[0] for row in connection_rows([peer(db, "db"), peer(two, "api"), peer(one, "api")])] == names


def test_what_nobody_asked_for_has_no_share_and_no_latency() -> None:
    [_, row] = request_rows([edge("a", "api", Success=None)], "p99")
    assert row[4:9] == ("-", "1.0", "-", "-", "-")


def test_latencies_read_well() -> None:
    assert [duration(each) for each in (0.00042, 0.0123, 0.999, 1.5)] == ["0.42ms", "12.3ms", "999ms", "1.5s"]
