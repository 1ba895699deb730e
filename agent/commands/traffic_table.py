"""The tables of `chowk stat` and `chowk top`: what the sidecars of one host carry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

HEADING: Final = ("SERVICE", "DIRECTION", "PEER", "ROUTE", "SUCCESS", "RPS", "P50", "P95", "P99", "RETRIES/S")
CONNECTIONS: Final = ("SERVICE", "DIRECTION", "PEER", "CONNECTIONS/S", "FAILED/S", "DENIED/S", "WOULD BE DENIED/S")
LEFT_OUT: Final = ("SERVICE", "UPSTREAM", "LEFT OUT", "AT", "WHY")
Row = tuple[str, ...]
Edge = dict[str, Any]

ORDERS: Final[dict[str, Callable[[Edge], Any]]] = {
    "name": lambda edge: (edge["Service"], edge["Direction"], edge["Peer"], edge["Route"]),
    "rps": lambda edge: -edge["RequestsPerS"],
    "success": lambda edge: 2.0 if edge["Success"] is None else edge["Success"],
    "p50": lambda edge: -edge["P50S"],
    "p95": lambda edge: -edge["P95S"],
    "p99": lambda edge: -edge["P99S"],
}


def request_rows(edges: Sequence[Edge], order: str) -> list[Row]:
    """A row an edge, under HEADING, in that order (a key of ORDERS)."""
    rows: list[Row] = [HEADING]
    names = _names(edges)
    for edge in sorted(sorted(edges, key=ORDERS["name"]), key=ORDERS[order]):
        success, asked = edge["Success"], edge["Success"] is not None
        rows.append(
            (
                names[edge["ProxyID"]],
                edge["Direction"],
                edge["Peer"],
                edge["Route"] or "-",
                f"{success * 100:.2f}%" if asked else "-",
                f"{edge['RequestsPerS']:.1f}",
                *(duration(edge[name]) if asked else "-" for name in ("P50S", "P95S", "P99S")),
                f"{edge['RetriesPerS']:.1f}",
            )
        )
    return rows


def connection_rows(peers: Sequence[Edge]) -> list[Row]:
    """A row a peer, under CONNECTIONS."""
    names = _names(peers)
    return [
        CONNECTIONS,
        *(
            (
                names[peer["ProxyID"]],
                peer["Direction"],
                peer["Peer"],
                f"{peer['OpenedPerS']:.1f}",
                f"{peer['FailedPerS']:.1f}",
                f"{peer['DeniedPerS']:.1f}",
                f"{peer['PermittedPerS']:.1f}",
            )
            for peer in sorted(peers, key=lambda each: (names[each["ProxyID"]], each["Direction"], each["Peer"]))
        ),
    ]


def left_out_rows(instances: Sequence[Edge]) -> list[Row]:
    """A row an instance that a sidecar passes over now, under LEFT_OUT."""
    names = _names(instances)
    return [
        LEFT_OUT,
        *(
            (
                names[each["ProxyID"]],
                each["Upstream"],
                each["Instance"],
                f"{each['Address']}:{each['Port']}",
                each["Why"],
            )
            for each in instances
        ),
    ]


def _names(rows: Iterable[Edge]) -> dict[str, str]:
    """What each sidecar is called: its service; with its own id where that has several on this host."""
    services = {row["ProxyID"]: row["Service"] for row in rows}
    counts = Counter(services.values())
    return {proxy: name if counts[name] == 1 else f"{name} ({proxy})" for proxy, name in services.items()}


def duration(seconds: float) -> str:
    """A latency as people read it: `0.42ms`, `12ms`, `1.5s`."""
    if seconds >= 1:
        return f"{seconds:.3g}s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.2f}ms" if milliseconds < 1 else f"{milliseconds:.3g}ms"
