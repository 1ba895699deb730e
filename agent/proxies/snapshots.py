"""Builds a sidecar's snapshot from what is registered here and what the views know. Pure; called by `sources`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from chowk.connect.snapshot import Endpoint, InboundSnapshot, ProxySnapshot, SpiffeService, UpstreamSnapshot
from chowk.core.records.ca import CARoots
from chowk.core.records.check import PASSING, WARNING
from chowk.core.records.config_entry import ServiceDefaults
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.intention import Intention
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService, Upstream

CONNECT_TIMEOUT_S = 5.0


class MeshFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry says to one proxy; `instances` by upstream service, `defaults` by service."""

    roots: CARoots
    intentions: tuple[Intention, ...]
    instances: Mapping[str, tuple[ServiceInstance, ...]]
    defaults: Mapping[str, ServiceDefaults]
    default_allow: bool


def build_snapshot(service: NodeService, node: Node, facts: MeshFacts, version: int) -> ProxySnapshot:
    """The snapshot of the connect-proxy registration `service` of `node`."""
    proxy = service.proxy
    own = facts.defaults.get(proxy.destination_service_name)
    inbound = InboundSnapshot(
        bind_address=_text(proxy.config, "bind_address") or service.address or node.address,
        bind_port=int(_number(proxy.config, "bind_port") or service.port),
        local_address=proxy.local_service_address or "127.0.0.1",
        local_port=proxy.local_service_port,
        local_socket_path=proxy.local_service_socket_path,
        protocol=_text(proxy.config, "protocol") or (own.protocol if own else "") or "tcp",
        connect_timeout_s=_milliseconds(proxy.config, "local_connect_timeout_ms")
        or (own.local_connect_timeout_ms / 1000 if own else 0.0)
        or CONNECT_TIMEOUT_S,
        connections_max=int(_number(proxy.config, "max_inbound_connections"))
        or (own.max_inbound_connections if own else 0),
    )
    has_application = bool(proxy.local_service_port or proxy.local_service_socket_path)
    return ProxySnapshot(
        proxy_id=service.id,
        service=proxy.destination_service_name,
        node=node.node,
        datacenter=node.datacenter,
        version=version,
        roots=facts.roots,
        inbound=inbound if has_application and inbound.bind_port else None,
        upstreams=tuple(_upstream(upstream, node, facts) for upstream in proxy.upstreams),
        intentions=facts.intentions,
        default_allow=facts.default_allow,
    )


def dialable(instances: Iterable[ServiceInstance]) -> tuple[Endpoint, ...]:
    """Endpoints of the instances that take traffic now: passing or warning, not in maintenance; ordered by key."""
    endpoints = []
    for instance in sorted(instances, key=lambda each: each.key):
        status = instance.status
        weights = instance.service.weights
        weight = weights.passing if status == PASSING else weights.warning
        if status in (PASSING, WARNING) and instance.service.port:
            endpoints.append(
                Endpoint(key=instance.key, address=instance.address, port=instance.service.port, weight=weight)
            )
    return tuple(endpoints)


def _upstream(upstream: Upstream, node: Node, facts: MeshFacts) -> UpstreamSnapshot:
    datacenter = upstream.datacenter or node.datacenter
    name = upstream.destination_name
    defaults = facts.defaults.get(name)
    limits = upstream.config.get("limits")
    identity = SpiffeService(trust_domain=facts.roots.trust_domain, datacenter=datacenter, service=name)
    return UpstreamSnapshot(
        name=name,
        datacenter=datacenter,
        bind_address=upstream.local_bind_address or "127.0.0.1",
        bind_port=upstream.local_bind_port,
        bind_socket_path=upstream.local_bind_socket_path,
        bind_socket_mode=upstream.local_bind_socket_mode,
        spiffe_id=str(identity),
        endpoints=dialable(facts.instances.get(name, ())) if datacenter == node.datacenter else (),
        protocol=_text(upstream.config, "protocol") or (defaults.protocol if defaults else "") or "tcp",
        connect_timeout_s=_milliseconds(upstream.config, "connect_timeout_ms") or CONNECT_TIMEOUT_S,
        connections_max=int(_number(limits, "max_connections")) if isinstance(limits, dict) else 0,
    )


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
