"""What one sidecar must know to do its work: the only thing a proxy acts on, built by `agent.proxies`, one immutable value.

A proxy keeps serving by its last snapshot when the agent and every server are gone.
"""

from __future__ import annotations

import msgspec

from chowk.core.records.ca import CARoots
from chowk.core.records.intention import Intention


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of a snapshot's parts."""


class Endpoint(Part, frozen=True, kw_only=True):
    """One healthy place to dial: a sidecar's public listener (or a native instance). `key` is `node/service-id`."""

    key: str
    address: str
    port: int
    weight: int = 1


class UpstreamSnapshot(Part, frozen=True, kw_only=True):
    """One local listener and where its connections go. `endpoints` holds only instances that may be dialled now.

    `spiffe_id` is the identity that the far end must prove. Limits of 0 mean unlimited.
    """

    name: str
    datacenter: str = ""
    bind_address: str = "127.0.0.1"
    bind_port: int = 0
    bind_socket_path: str = ""
    bind_socket_mode: str = ""
    spiffe_id: str
    endpoints: tuple[Endpoint, ...] = ()
    protocol: str = "tcp"
    connect_timeout_s: float = 5.0
    connections_max: int = 0


class InboundSnapshot(Part, frozen=True, kw_only=True):
    """The public mTLS listener and the application behind it (`local_socket_path` wins over address and port)."""

    bind_address: str
    bind_port: int
    local_address: str = "127.0.0.1"
    local_port: int = 0
    local_socket_path: str = ""
    protocol: str = "tcp"
    connect_timeout_s: float = 5.0
    connections_max: int = 0


class ProxySnapshot(Part, frozen=True, kw_only=True):
    """Everything of one proxy. `version` grows with each change; `service` is the identity its leaf proves.

    `intentions` are those whose destination is `service` or `*`; `default_allow` decides when none matches.
    """

    proxy_id: str
    service: str
    node: str
    datacenter: str
    version: int
    roots: CARoots
    inbound: InboundSnapshot | None
    upstreams: tuple[UpstreamSnapshot, ...] = ()
    intentions: tuple[Intention, ...] = ()
    default_allow: bool = True
    leaf_ttl_s: float = 259_200.0


class SpiffeService(Part, frozen=True, kw_only=True):
    """The parts of `spiffe://<trust domain>/ns/<namespace>/dc/<datacenter>/svc/<service>`."""

    trust_domain: str
    namespace: str = "default"
    datacenter: str
    service: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/dc/{self.datacenter}/svc/{self.service}"
