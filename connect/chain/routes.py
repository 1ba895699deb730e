"""A compiled chain as a proxy needs it: routes in the order they are tried, and the clusters at their ends. Pure.

Called by `agent.proxies` for each upstream. Durations become seconds here; what was written has been checked before it was
stored, so a value that cannot be read counts as not set.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from chowk.connect.chain.entries import seconds
from chowk.connect.snapshot import (
    Balance,
    Cluster,
    FaultPlan,
    HashKey,
    HttpRoute,
    Limits,
    Locality,
    MirrorPlan,
    Outlier,
    Retries,
    Split,
    StickyKey,
)
from chowk.core.records.chain import ROUTER, SPLITTER, ChainNode, ChainRoute, CompiledChain
from chowk.core.records.resolver import HashPolicy, LoadBalancer
from chowk.core.records.router import RouteDestination
from chowk.core.records.splitter import Sticky
from chowk.core.records.traffic import Fault, HttpMatch

DEFAULT_ROUTE: Final = "default"
SPLIT_PARTS: Final = 100
"""A weight of 0.01 percent is 1."""
_HASHED: Final = {"header": "header", "cookie": "cookie", "query_parameter": "query"}


def routes_of(chain: CompiledChain) -> tuple[HttpRoute, ...]:
    """The routes; the last one matches every request."""
    start = chain.start
    if start.type != ROUTER:
        return (HttpRoute(name=DEFAULT_ROUTE, splits=_splits(chain, start), sticky=_sticky(start.sticky)),)
    last = len(start.routes) - 1
    return tuple(_route(chain, route, number, number == last) for number, route in enumerate(start.routes))


def clusters_of(
    chain: CompiledChain, here: Locality, allowed_regions: Iterable[str], limits: Limits, outlier: Outlier
) -> dict[str, Cluster]:
    """By name. `here` is where the proxy runs; traffic never goes to other regions than `allowed_regions` (none: all)."""
    everywhere = tuple(allowed_regions)
    return {
        node.name: _cluster(node, here, everywhere, limits, outlier)
        for node in chain.nodes.values()
        if node.resolver is not None
    }


def _cluster(
    node: ChainNode, here: Locality, allowed_regions: tuple[str, ...], limits: Limits, outlier: Outlier
) -> Cluster:
    resolver = node.resolver
    if resolver is None:
        raise ValueError(f"{node.key} is no resolver")
    failover = resolver.failover
    policy = failover.policy if failover is not None else None
    regions = policy.regions if policy is not None else ()
    if regions and allowed_regions:
        # What one of them forbids is forbidden: with nothing in common only the own region is left.
        regions = tuple(region for region in regions if region in allowed_regions) or (here.region,)
    near = (node.locality is not None and node.locality.mode == "failover") or (
        policy is not None and policy.mode == "order-by-locality"
    )
    return Cluster(
        name=node.name,
        targets=(resolver.target, *(failover.targets if failover is not None else ())),
        connect_timeout_s=resolver.connect_timeout_s,
        request_timeout_s=resolver.request_timeout_s,
        balance=_balance(node.load_balancer),
        locality=Locality(
            region=here.region, zone=here.zone, prefer_near=near, allowed_regions=regions or allowed_regions
        ),
        outlier=outlier,
        limits=limits,
    )


def _balance(wanted: LoadBalancer | None) -> Balance:
    if wanted is None:
        return Balance()
    ring, least = wanted.ring_hash_config, wanted.least_request_config
    return Balance(
        policy=wanted.policy or Balance().policy,
        choices=least.choice_count if least is not None else 0,
        ring_size_min=ring.minimum_ring_size if ring is not None else 0,
        ring_size_max=ring.maximum_ring_size if ring is not None else 0,
        hash_keys=tuple(_hash_key(each) for each in wanted.hash_policies),
    )


def _hash_key(policy: HashPolicy) -> HashKey:
    if policy.source_ip:
        return HashKey(source="source_ip", terminal=policy.terminal)
    cookie = policy.cookie_config
    return HashKey(
        source=_HASHED.get(policy.field, "header"),
        name=policy.field_value,
        makes_cookie=cookie is not None,
        cookie_ttl_s=seconds(cookie.ttl) if cookie is not None and not cookie.session else 0.0,
        cookie_path=cookie.path if cookie is not None else "",
        terminal=policy.terminal,
    )


def _route(chain: CompiledChain, route: ChainRoute, number: int, is_last: bool) -> HttpRoute:
    destination = route.definition.destination or RouteDestination()
    match = route.definition.match.http if route.definition.match is not None else None
    node = chain.nodes.get(route.next_node)
    conditions = destination.retry_on
    if destination.retry_on_connect_failure and "connect-failure" not in conditions:
        conditions = (*conditions, "connect-failure")
    retried = bool(conditions or destination.retry_on_status_codes)
    mirrored = chain.nodes.get(route.mirror_node)
    return HttpRoute(
        name=DEFAULT_ROUTE if is_last else f"{number + 1} {_shown(match)}",
        match=None if is_last else match,
        splits=_splits(chain, node) if node is not None else (),
        sticky=_sticky(node.sticky) if node is not None else None,
        prefix_rewrite=destination.prefix_rewrite,
        request_headers=destination.request_headers,
        response_headers=destination.response_headers,
        timeout_s=seconds(destination.request_timeout),
        try_timeout_s=seconds(destination.per_try_timeout),
        idle_timeout_s=seconds(destination.idle_timeout),
        retries=Retries(
            attempts=destination.num_retries or int(retried),
            conditions=conditions,
            status_codes=destination.retry_on_status_codes,
        ),
        mirror=(
            MirrorPlan(cluster=mirrored.name, percent=destination.mirror.percent)
            if mirrored is not None and destination.mirror is not None
            else None
        ),
        fault=_fault(destination.fault),
        redirect=destination.redirect,
        fallback=destination.fallback,
    )


def _splits(chain: CompiledChain, node: ChainNode) -> tuple[Split, ...]:
    if node.type != SPLITTER:
        return (Split(cluster=node.name),)
    return tuple(
        Split(
            cluster=chain.nodes[part.next_node].name,
            weight=round(part.weight * SPLIT_PARTS),
            request_headers=part.request_edits,
            response_headers=part.response_edits,
        )
        for part in node.splits
    )


def _sticky(wanted: Sticky | None) -> StickyKey | None:
    if wanted is None:
        return None
    return StickyKey(header=wanted.header, cookie=wanted.cookie, ttl_s=seconds(wanted.ttl))


def _fault(fault: Fault | None) -> FaultPlan | None:
    """None without an end: harm that nobody ends is never done."""
    if fault is None:
        return None
    try:
        expires_s = datetime.fromisoformat(fault.expires).timestamp()
    except ValueError:
        return None
    return FaultPlan(
        delay_percent=fault.delay.percent if fault.delay is not None else 0.0,
        delay_s=seconds(fault.delay.duration) if fault.delay is not None else 0.0,
        abort_percent=fault.abort.percent if fault.abort is not None else 0.0,
        abort_status=fault.abort.status if fault.abort is not None else 0,
        expires_s=expires_s,
    )


def _shown(match: HttpMatch | None) -> str:
    """What a route is called in metrics, from what was written: never from a request."""
    if match is None:
        return "any"
    if match.path_exact:
        return match.path_exact
    if match.path_prefix:
        return f"{match.path_prefix}*"
    return f"~{match.path_regex}" if match.path_regex else "any path"
