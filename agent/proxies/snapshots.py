"""Builds a sidecar's snapshot from what is registered here and what the views know. Pure; called by `source`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from chowk.agent.proxies.chain_parts import ChainParts, Terms
from chowk.connect.chain.entries import ChainEntries
from chowk.connect.snapshot import (
    Bypass,
    Endpoint,
    InboundSnapshot,
    Limits,
    Locality,
    Outlier,
    ProxySnapshot,
    SpiffeService,
    Target,
    UpstreamSnapshot,
)
from chowk.core.durations import parse_duration
from chowk.core.records.ca import CARoots
from chowk.core.records.chain import CompiledChain
from chowk.core.records.check import PASSING, WARNING
from chowk.core.records.config_entry import ServiceDefaults
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.intention import Intention
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService, Upstream

CONNECT_TIMEOUT_S = 5.0
PERMISSIVE = "permissive"


class MeshFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry says to one proxy; `chains` by upstream service and datacenter, `endpoints` by target id."""

    roots: CARoots
    intentions: tuple[Intention, ...]
    entries: ChainEntries
    chains: Mapping[tuple[str, str], CompiledChain]
    endpoints: Mapping[str, tuple[Endpoint, ...]]
    default_allow: bool
    bypasses: tuple[Bypass, ...] = ()
    parts: ChainParts = msgspec.field(default_factory=ChainParts)


def build_snapshot(service: NodeService, node: Node, facts: MeshFacts, version: int) -> ProxySnapshot:
    """The snapshot of the connect-proxy registration `service` of `node`."""
    proxy = service.proxy
    inbound = _inbound(service, node, facts)
    has_application = bool(proxy.local_service_port or proxy.local_service_socket_path)
    chains = [facts.chains[chain_key(upstream, node)] for upstream in proxy.upstreams]
    return ProxySnapshot(
        proxy_id=service.id,
        service=proxy.destination_service_name,
        node=node.node,
        datacenter=node.datacenter,
        version=version,
        roots=trusted_alone(facts.roots),
        inbound=inbound if has_application and inbound.bind_port else None,
        upstreams=tuple(
            _upstream(service, upstream, node, chain, facts)
            for upstream, chain in zip(proxy.upstreams, chains, strict=True)
        ),
        intentions=facts.intentions,
        default_allow=facts.default_allow,
        targets=_targets(chains, facts),
        access_logs=facts.entries.proxies.access_logs,
        bypasses=bypasses_of(service, chains, facts.bypasses),
    )


def bypasses_of(
    service: NodeService, chains: Iterable[CompiledChain], bypasses: Iterable[Bypass]
) -> tuple[Bypass, ...]:
    """Those of the proxy's own service and of the services that it calls."""
    reached = {target.service for chain in chains for target in chain.targets.values()}
    return tuple(each for each in bypasses if each.service in reached | {service.proxy.destination_service_name})


def chain_key(upstream: Upstream, node: Node) -> tuple[str, str]:
    """The service and datacenter of an upstream's chain."""
    return upstream.destination_name, upstream.datacenter or node.datacenter


def trusted_alone(roots: CARoots) -> CARoots:
    """The roots without what signs under them: leaves bring that, and it changes with each leader."""
    return msgspec.structs.replace(
        roots,
        roots=tuple(
            msgspec.structs.replace(root, intermediate_certs=(), signing_key_id="", modify_index=0)
            for root in roots.roots
        ),
    )


def dialable(instances: Iterable[ServiceInstance], *, only_passing: bool = False) -> tuple[Endpoint, ...]:
    """Endpoints of the instances that take traffic now: passing or warning, not in maintenance; ordered by key."""
    endpoints = []
    statuses = (PASSING,) if only_passing else (PASSING, WARNING)
    for instance in sorted(instances, key=lambda each: each.key):
        service, status = instance.service, instance.status
        weight = service.weights.passing if status == PASSING else service.weights.warning
        if status in statuses and service.port:
            endpoints.append(
                Endpoint(
                    key=instance.key,
                    address=instance.address,
                    port=service.port,
                    weight=weight,
                    region=service.locality.region if service.locality is not None else "",
                    zone=service.locality.zone if service.locality is not None else "",
                )
            )
    return tuple(endpoints)


def _inbound(service: NodeService, node: Node, facts: MeshFacts) -> InboundSnapshot:
    proxy, name = service.proxy, service.proxy.destination_service_name
    own = facts.entries.defaults.get(name) or ServiceDefaults()
    config = {**facts.entries.proxies.config, **proxy.config}
    return InboundSnapshot(
        bind_address=_text(config, "bind_address") or service.address or node.address,
        bind_port=int(_number(config, "bind_port") or service.port),
        local_address=proxy.local_service_address or "127.0.0.1",
        local_port=proxy.local_service_port,
        local_socket_path=proxy.local_service_socket_path,
        protocol=_text(proxy.config, "protocol") or facts.entries.protocol(name),
        connect_timeout_s=_milliseconds(proxy.config, "local_connect_timeout_ms")
        or own.local_connect_timeout_ms / 1000
        or _milliseconds(config, "local_connect_timeout_ms")
        or CONNECT_TIMEOUT_S,
        connections_max=int(_number(proxy.config, "max_inbound_connections"))
        or own.max_inbound_connections
        or int(_number(config, "max_inbound_connections")),
        request_timeout_s=_milliseconds(proxy.config, "local_request_timeout_ms")
        or own.local_request_timeout_ms / 1000
        or _milliseconds(config, "local_request_timeout_ms"),
        rate_limits=own.rate_limits,
        concurrency=own.concurrency,
        permissive=own.intention_mode == PERMISSIVE,
    )


def _upstream(
    service: NodeService, upstream: Upstream, node: Node, chain: CompiledChain, facts: MeshFacts
) -> UpstreamSnapshot:
    name, datacenter = chain_key(upstream, node)
    config = upstream_config(facts.entries.defaults.get(service.proxy.destination_service_name), upstream)
    limits, health = _block(config, "limits"), _block(config, "passive_health_check")
    terms = Terms(
        here=_here(service),
        allowed_regions=tuple(facts.entries.mesh.allowed_regions),
        limits=Limits(
            connections_max=int(_number(limits, "max_connections")),
            pending_max=int(_number(limits, "max_pending_requests")),
            requests_max=int(_number(limits, "max_concurrent_requests")),
            endpoint_requests_max=int(_number(limits, "max_instance_requests")),
        ),
        outlier=_outlier(health),
        connect_timeout_s=_milliseconds(config, "connect_timeout_ms"),
    )
    return UpstreamSnapshot(
        name=name,
        datacenter=datacenter,
        bind_address=upstream.local_bind_address or "127.0.0.1",
        bind_port=upstream.local_bind_port,
        bind_socket_path=upstream.local_bind_socket_path,
        bind_socket_mode=upstream.local_bind_socket_mode,
        protocol=_text(config, "protocol") or chain.protocol,
        routes=facts.parts.routes(chain),
        clusters=facts.parts.clusters(chain, terms),
    )


def upstream_config(defaults: ServiceDefaults | None, upstream: Upstream) -> dict[str, Any]:
    """How the caller's sidecar dials this upstream: its service-defaults for all, then for this one, then its own block."""
    merged: dict[str, Any] = {}
    if defaults is not None:
        wanted = defaults.upstream_config
        overrides = wanted.get("Overrides")
        named = [
            each
            for each in (overrides if isinstance(overrides, list | tuple) else ())
            if isinstance(each, dict) and each.get("Name") == upstream.destination_name
        ]
        for block in (wanted.get("Defaults"), *named):
            if isinstance(block, dict):
                merged.update({_folded(key): value for key, value in block.items() if key != "Name" and value})
    merged.update({_folded(key): value for key, value in upstream.config.items()})
    return merged


def _targets(chains: Iterable[CompiledChain], facts: MeshFacts) -> dict[str, Target]:
    return {
        target.id: Target(
            id=target.id,
            service=target.service,
            datacenter=target.datacenter,
            spiffe_id=str(
                SpiffeService(
                    trust_domain=facts.roots.trust_domain, datacenter=target.datacenter, service=target.service
                )
            ),
            endpoints=facts.endpoints.get(target.id, ()),
        )
        for chain in chains
        for target in chain.targets.values()
    }


def _here(service: NodeService) -> Locality:
    found = service.locality
    return Locality(region=found.region, zone=found.zone) if found is not None else Locality()


def _outlier(health: Mapping[str, Any]) -> Outlier:
    """Consul's passive_health_check, under its names in either spelling."""
    default = Outlier()
    enforcing = health.get("enforcing_consecutive_5xx")
    return Outlier(
        interval_s=_seconds(health.get("interval")) or default.interval_s,
        max_failures=int(_number(health, "max_failures")) or default.max_failures,
        enforcing_percent=int(_number(health, "enforcing_consecutive_5xx"))
        if enforcing is not None
        else default.enforcing_percent,
        ejected_percent_max=int(_number(health, "max_ejection_percent")) or default.ejected_percent_max,
        ejection_s=_seconds(health.get("base_ejection_time")) or default.ejection_s,
    )


def _block(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = config.get(key)
    return {_folded(name): value for name, value in found.items()} if isinstance(found, dict) else {}


def _folded(key: str) -> str:
    """`ConnectTimeoutMs` and `connect_timeout_ms` are one key."""
    if "_" in key or key.islower():
        return key.lower()
    text = "".join(f"_{each.lower()}" if each.isupper() else each for each in key).lstrip("_")
    return text.replace("consecutive5xx", "consecutive_5xx")


def _seconds(value: object) -> float:
    """A duration as text, or as nanoseconds."""
    if isinstance(value, str):
        try:
            return max(0.0, parse_duration(value))
        except ValueError:
            return 0.0
    return max(0.0, value / 1e9) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _text(config: Mapping[str, object], key: str) -> str:
    value = config.get(key)
    return value if isinstance(value, str) else ""


def _number(config: Mapping[str, object], key: str) -> float:
    """Opaque proxy config is not typed by its schema: what is no number counts as not set."""
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        return 0.0


def _milliseconds(config: Mapping[str, object], key: str) -> float:
    return _number(config, key) / 1000
