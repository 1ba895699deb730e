"""Definitions: what people write (HCL, JSON, HTTP bodies, CLI flags) before an agent makes records of it.

`agent.config.definitions` decodes them, `agent.local` keeps them, `agent.checks` runs them. Durations are seconds.
"""

from __future__ import annotations

import msgspec

from chowk.core.records.base import Record
from chowk.core.records.service import ConnectProxy, Locality, ServiceAddress, Weights


class Position(Record, frozen=True, kw_only=True):
    """Where a definition was written: `file:line:column`; an empty file means the HTTP API."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.file else "request"


class CheckDefinition(Record, frozen=True, kw_only=True):
    """One health check; exactly one of args, http, tcp, udp, grpc, h2ping, ttl_s, alias_*, os_service, docker is set."""

    id: str = ""
    name: str = ""
    notes: str = ""
    service_id: str = ""
    token: str = ""
    status: str = ""
    args: tuple[str, ...] = ()
    http: str = ""
    header: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    method: str = ""
    body: str = ""
    disable_redirects: bool = True
    tcp: str = ""
    tcp_use_tls: bool = False
    udp: str = ""
    grpc: str = ""
    grpc_use_tls: bool = False
    h2ping: str = ""
    h2ping_use_tls: bool = True
    os_service: str = ""
    docker_container_id: str = ""
    shell: str = ""
    alias_node: str = ""
    alias_service: str = ""
    ttl_s: float = 0.0
    interval_s: float = 0.0
    timeout_s: float = 0.0
    tls_server_name: str = ""
    tls_skip_verify: bool = False
    output_max_size: int = 4096
    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0
    deregister_critical_service_after_s: float = 0.0
    position: Position = Position()

    @property
    def type(self) -> str:
        """Consul's name of the kind of check: http, tcp, udp, grpc, h2ping, ttl, script, alias, os_service, docker."""
        kinds = (
            ("docker", self.docker_container_id), ("script", self.args), ("http", self.http), ("tcp", self.tcp),
            ("udp", self.udp), ("grpc", self.grpc), ("h2ping", self.h2ping), ("os_service", self.os_service),
            ("alias", self.alias_node or self.alias_service), ("ttl", self.ttl_s),
        )  # fmt: skip
        return next((name for name, value in kinds if value), "")


class ServiceDefinition(Record, frozen=True, kw_only=True):
    """One service instance to register on this agent. `id` "" means the name."""

    kind: str = ""
    id: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    address: str = ""
    tagged_addresses: dict[str, ServiceAddress] = msgspec.field(default_factory=dict)
    port: int = 0
    socket_path: str = ""
    meta: dict[str, str] = msgspec.field(default_factory=dict)
    weights: Weights = Weights()
    enable_tag_override: bool = False
    token: str = ""
    checks: tuple[CheckDefinition, ...] = ()
    proxy: ConnectProxy | None = None
    connect: ConnectDefinition | None = None
    locality: Locality | None = None
    launch: bool | None = None
    """Of a sidecar only: False leaves starting its proxy to the user; None follows the agent's `connect.launch`."""
    position: Position = Position()


class ConnectDefinition(Record, frozen=True, kw_only=True):
    """The `connect` block of a service."""

    native: bool = False
    sidecar_service: ServiceDefinition | None = None
