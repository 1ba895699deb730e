"""A snapshot from the disk, made to fit what is registered now; what it says of the mesh stays. Pure.

Called by `source` when an agent has started and the registry stays silent.
"""

from __future__ import annotations

import msgspec

from chowk.connect.snapshot import ProxySnapshot, UpstreamSnapshot
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService, Upstream

Listening = tuple[str, str, str, int, str]


def fit(stored: ProxySnapshot, service: NodeService, node: Node, *, default_allow: bool) -> ProxySnapshot | None:
    """`stored` with the ports and addresses of the registration; None when it was of another service or node.

    Upstreams that were removed from the registration go; those added since wait for the registry, which alone knows whom
    they reach. The default for what no intention decides is the configuration's of now.
    """
    proxy = service.proxy
    if (stored.service, stored.node, stored.datacenter) != (proxy.destination_service_name, node.node, node.datacenter):
        return None
    registered = {_wanted(upstream, node) for upstream in proxy.upstreams}
    inbound = stored.inbound
    if inbound is not None:
        own_address = proxy.config.get("bind_address")
        own_port = proxy.config.get("bind_port")
        inbound = msgspec.structs.replace(
            inbound,
            bind_address=inbound.bind_address if own_address else service.address or node.address,
            bind_port=inbound.bind_port if own_port else service.port,
            local_address=proxy.local_service_address or "127.0.0.1",
            local_port=proxy.local_service_port,
            local_socket_path=proxy.local_service_socket_path,
        )
    return msgspec.structs.replace(
        stored,
        inbound=inbound,
        upstreams=tuple(upstream for upstream in stored.upstreams if _stored(upstream) in registered),
        default_allow=default_allow,
    )


def _wanted(upstream: Upstream, node: Node) -> Listening:
    return (
        upstream.destination_name,
        upstream.datacenter or node.datacenter,
        upstream.local_bind_address or "127.0.0.1",
        upstream.local_bind_port,
        upstream.local_bind_socket_path,
    )


def _stored(upstream: UpstreamSnapshot) -> Listening:
    return (
        upstream.name,
        upstream.datacenter,
        upstream.bind_address,
        upstream.bind_port,
        upstream.bind_socket_path,
    )
