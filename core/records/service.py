"""A service instance, and the proxy and mesh settings it carries."""

from __future__ import annotations

from typing import Any

import msgspec

from chowk.core.records.base import Indexed, Record

KIND_TYPICAL = ""
KIND_CONNECT_PROXY = "connect-proxy"


class ServiceAddress(Record, frozen=True, kw_only=True):
    """A tagged address of a service: `lan`, `wan`, `virtual`, …"""

    address: str
    port: int = 0


class Weights(Record, frozen=True, kw_only=True):
    """DNS SRV weights of an instance by the worst status of its checks."""

    passing: int = 1
    warning: int = 1


class Locality(Record, frozen=True, kw_only=True):
    """Where an instance runs; balancing prefers near ones."""

    region: str = ""
    zone: str = ""


class MeshGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Which gateways an upstream in another datacenter goes through."""

    mode: str = ""


class ExposePath(Record, frozen=True, kw_only=True):
    """One path of the service made reachable without mTLS."""

    path: str = ""
    listener_port: int = 0
    local_path_port: int = 0
    protocol: str = "http"


class Expose(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a sidecar makes reachable without mTLS."""

    checks: bool = False
    paths: tuple[ExposePath, ...] = ()


class Upstream(Record, frozen=True, kw_only=True):
    """One service that a sidecar's application dials on a local port."""

    destination_type: str = "service"
    destination_name: str
    datacenter: str = ""
    local_bind_address: str = ""
    local_bind_port: int = 0
    local_bind_socket_path: str = ""
    local_bind_socket_mode: str = ""
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    mesh_gateway: MeshGateway = MeshGateway()


class ConnectProxy(Record, frozen=True, kw_only=True):
    """The `proxy` block of a connect-proxy service: what it stands for and what it dials."""

    destination_service_name: str = ""
    destination_service_id: str = ""
    local_service_address: str = ""
    local_service_port: int = 0
    local_service_socket_path: str = ""
    mode: str = ""
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    upstreams: tuple[Upstream, ...] = ()
    mesh_gateway: MeshGateway = MeshGateway()
    expose: Expose = Expose()


class ServiceConnect(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The mesh side of an instance as the catalog keeps it: it speaks mTLS itself when `native`."""

    native: bool = False


class NodeService(Indexed, frozen=True, kw_only=True):
    """One instance of a service on a node; (node, id) is unique. `address` "" means the node's address."""

    kind: str = KIND_TYPICAL
    id: str
    service: str
    tags: tuple[str, ...] = ()
    address: str = ""
    tagged_addresses: dict[str, ServiceAddress] = msgspec.field(default_factory=dict)
    meta: dict[str, str] = msgspec.field(default_factory=dict)
    port: int = 0
    socket_path: str = ""
    weights: Weights = Weights()
    enable_tag_override: bool = False
    proxy: ConnectProxy = ConnectProxy()
    connect: ServiceConnect = ServiceConnect()
    locality: Locality | None = None

    @property
    def mesh_name(self) -> str:
        """The service whose mTLS traffic this instance takes ("" when it takes none)."""
        if self.kind == KIND_CONNECT_PROXY:
            return self.proxy.destination_service_name
        return self.service if self.connect.native else ""
