"""`GET /v1/agent/metrics`: the agent's counters, in Consul's JSON or for Prometheus (`?format=prometheus`).

Gauges are computed when asked. Label sets are fixed (statuses, states), so that no name a client can choose grows them.
What other rooms count in prometheus-client's default registry is shown too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from chowk.agent.api.agent_certificates import (
    CLUSTER,
    INTERMEDIATE,
    LEAF,
    ROOT,
    CertificateLife,
    known_certificates,
)
from chowk.agent.api.agent_self import format_wall, server_stats
from chowk.agent.api.context import ApiContext
from chowk.agent.api.mesh_metrics import mesh_metrics
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.telemetry.naming import named
from chowk.core.records.check import STATUSES
from chowk.core.records.member import STATUSES as MEMBER_STATUSES
from chowk.core.runtime.loop_lag import BOUNDS_S

DNS_DROPS: Final = ("late", "rate", "full")
"""Waited past the deadline; over the rate limit; not taken by the kernel."""

DNS_COUNTERS: Final = (
    ("queries", "Queries read."),
    ("cached", "Queries answered from the wire cache."),
    ("malformed", "Packets that ask nothing and were told so."),
    ("ignored", "Packets that are no query and got no reply."),
    ("fetches", "Views opened for an answer."),
    ("recursions", "Queries asked of the recursors."),
    ("overloads", "Queries refused because too many were pending."),
    ("failures", "Queries answered SERVFAIL."),
    ("slipped", "Replies over the rate limit, sent truncated."),
)
PROXY_STATES: Final = ("running", "silent", "starting", "manual", "unlaunched")


class AgentCollector:
    """The gauges of one agent, and its server's event loop; made anew for each request."""

    def __init__(
        self, context: ApiContext, server: dict[str, dict[str, str]], certificates: tuple[CertificateLife, ...]
    ) -> None:
        self._context = context
        self._server = server
        self._certificates = certificates

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus-client."""
        local, client = self._context.local, self._context.client
        yield _gauge("chowk_agent_services", "Services registered on this agent.", len(local.services))
        checks = Counter(entry.check.status for entry in local.checks.values())
        yield _labelled("chowk_agent_checks", "Checks of this agent by status.", "status", STATUSES, checks)
        yield _gauge("chowk_agent_server_connected", "1 while a server is connected.", int(client.connected))
        yield _gauge("chowk_agent_views", "Materialised views held.", len(self._context.views))
        proxies = self._context.proxies.status() if self._context.proxies is not None else ()
        states = Counter(proxy.state for proxy in proxies)
        yield _labelled("chowk_agent_proxies", "Sidecars of this agent by state.", "state", PROXY_STATES, states)
        yield from self._gossip()
        yield from _dns(self._context.dns())
        yield from self._expiry()
        yield from _loop("agent", self._context.lag.stats())
        yield from _loop("server", self._server.get("server_loop", {}))
        reports = list(self._context.proxies.totals.reports()) if self._context.proxies is not None else []
        for name, text in (
            ("inbound_connections_open", "Connections open into the sidecars' services."),
            ("inbound_denied_total", "Connections that intentions denied, since the agent's start."),
            ("handshake_failures_total", "TLS handshakes that failed, since the agent's start."),
        ):
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(f"chowk_proxies_{name}", text, value=sum(getattr(report, name) for _, report in reports))
        yield from mesh_metrics(reports)

    def _expiry(self) -> Iterator[Metric]:
        """Seconds until certificates end, under Consul's names; of several the one that ends first."""
        found = self._certificates
        active = [each for each in found if each.active]
        roots = [each for each in active if each.type == ROOT]
        for name, text, certificates in (
            ("mesh_active_root_ca_expiry", "the mesh's active root", roots),
            # Without an intermediate, the root itself signs.
            (
                "mesh_active_signing_ca_expiry",
                "the certificate that signs leaves",
                [each for each in active if each.type == INTERMEDIATE] or roots,
            ),
            ("leaf_certs_cert_expiry", "the leaf here that ends first", [each for each in found if each.type == LEAF]),
            ("agent_tls_cert_expiry", "this agent's own certificate", [each for each in found if each.type == CLUSTER]),
        ):
            if certificates:
                left_s = min(certificates, key=lambda each: each.ends_s).left_s(self._context.clock.wall())
                yield _gauge(f"chowk_{name}", f"Seconds until {text} ends.", round(left_s, 3))

    def _gossip(self) -> Iterator[Metric]:
        if self._context.gossip is None:
            return
        stats = self._context.gossip.stats()
        statuses = Counter({status: int(stats.get(f"members_{status}", 0)) for status in MEMBER_STATUSES})
        yield _labelled("chowk_gossip_members", "Members by status.", "status", MEMBER_STATUSES, statuses)
        for name, text in (
            ("members_kept", "Members held alive on purpose, though out of reach."),
            ("health", "How much gossip doubts itself (0: not at all)."),
            ("packets_sent_bytes", "Bytes sent by UDP since the start."),
            ("packets_received_bytes", "Bytes received by UDP since the start."),
            ("packets_not_read", "Packets dropped because too many waited."),
        ):
            yield _gauge(f"chowk_gossip_{name}", text, int(stats.get(name, 0)))
        # The reasons are a fixed set of ours.
        refused = sum(int(value) for name, value in stats.items() if name.startswith("refused_"))
        yield _gauge("chowk_gossip_refused", "Packets and streams refused since the start.", refused)


class _Known:
    """Families for prometheus-client's text."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """Called by prometheus-client."""
        return self._families


async def known_metrics(context: ApiContext) -> list[Metric]:
    """All metrics as they are now, under the names that the configuration asks for."""
    collector = AgentCollector(context, await server_stats(context), await known_certificates(context))
    return [*named((*REGISTRY.collect(), *collector.collect()), context.config().telemetry)]


async def metrics(request: ApiRequest) -> web.Response:
    """All metrics."""
    families = await known_metrics(request.context)
    if request.query.get("format") == "prometheus":
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Known(families))
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
    return json_reply(request, as_consul(families, format_wall(request.context.clock.wall())))


def as_consul(families: list[Metric], timestamp: str) -> dict[str, Any]:
    """The shape of Consul's `GET /v1/agent/metrics`; `timestamp` is text."""
    gauges, counters, samples = [], [], []
    for family in families:
        if family.type in ("histogram", "summary"):
            samples += _samples(family)
            continue
        for sample in family.samples:
            labels = {key: str(value) for key, value in sample.labels.items()}
            if family.type == "counter" and sample.name.endswith("_total"):
                counters.append(_summary(sample.name, sample.value, labels))
            elif family.type in ("gauge", "unknown", "untyped"):
                gauges.append({"Name": sample.name, "Value": sample.value, "Labels": labels})
    return {"Timestamp": timestamp, "Gauges": gauges, "Points": [], "Counters": counters, "Samples": samples}


def _samples(family: Metric) -> list[dict[str, Any]]:
    """One for each set of labels: how many there were, their sum and mean; the extremes are not known."""
    found: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for sample in family.samples:
        kind = sample.name.removeprefix(family.name)
        if kind in ("_sum", "_count"):
            labels = tuple((key, str(value)) for key, value in sample.labels.items())
            found.setdefault(labels, {})[kind] = sample.value
    return [
        {
            "Name": family.name,
            "Count": int(each["_count"]),
            "Rate": 0.0,
            "Sum": each["_sum"],
            "Min": 0.0,
            "Max": 0.0,
            "Mean": each["_sum"] / each["_count"] if each["_count"] else 0.0,
            "Stddev": 0.0,
            "Labels": dict(labels),
        }
        for labels, each in found.items()
        if "_sum" in each and "_count" in each
    ]


def _summary(name: str, value: float, labels: dict[str, str]) -> dict[str, Any]:
    figures = dict.fromkeys(("Rate", "Sum", "Min", "Max", "Mean"), value)
    return {"Name": name, "Count": int(value), **figures, "Stddev": 0, "Labels": labels}


def _dns(counts: dict[str, int]) -> Iterator[Metric]:
    """What DNS was asked, and what it dropped without a reply, since the start."""
    for name, text in DNS_COUNTERS:
        yield CounterMetricFamily(f"chowk_dns_{name}", text, value=counts.get(name, 0))
    dropped = CounterMetricFamily("chowk_dns_dropped", "Queries over UDP that got no reply.", labels=["reason"])
    for reason in DNS_DROPS:
        dropped.add_metric([reason], counts.get(f"dropped_{reason}", 0))
    yield dropped
    if "workers" in counts:
        yield _gauge("chowk_dns_workers", "DNS workers that answer now.", counts["workers"])
        yield CounterMetricFamily(
            "chowk_dns_worker_restarts", "DNS workers started again.", value=counts["worker_restarts"]
        )


def _loop(process: str, stats: dict[str, str]) -> Iterator[Metric]:
    """How long the event loop of `process` was blocked (by our code) and stalled (by that, or for want of a core)."""
    if not stats:
        return
    prefix = f"chowk_{process}_loop"
    for name, text in (
        ("blocked_max", "Longest block since the start, in seconds: our code, the collector, or a disk."),
        ("blocked_last_long", "The last block of more than 50 ms, in seconds; 0 when there was none."),
        ("blocked_long", "Blocks of more than 50 ms since the start."),
        ("stalled_max", "Longest delay since the start, in seconds, with the time the machine gave no core."),
    ):
        unit = "" if name == "blocked_long" else "_seconds"
        yield _gauge(f"{prefix}_{name}{unit}", text, float(stats.get(name, 0)))
    cumulative, buckets = 0, []
    for bound in (*(str(bound) for bound in BOUNDS_S), "+Inf"):
        cumulative += int(stats.get(f"bucket_{bound}", 0))
        buckets.append((bound, float(cumulative)))
    yield HistogramMetricFamily(
        f"{prefix}_blocked_seconds",
        f"How late the {process}'s event loop ran, less what it waited for a core.",
        buckets=buckets,
        sum_value=float(stats.get("blocked_sum", 0)),
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, label: str, values: tuple[str, ...], found: Counter[str]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value in values:
        family.add_metric([value], found[value])
    return family


ROUTES: Final = (Route(("GET",), "/v1/agent/metrics", metrics, "agent:read"),)
