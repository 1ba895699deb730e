"""What `/v1/agent/services` and its neighbours answer with: the agent's own view of its services and checks. Pure.

The shapes are those that Consul's clients decode (AgentService, AgentServiceChecksInfo).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from chowk.core import codec
from chowk.core.records.base import Record
from chowk.core.records.check import CRITICAL, MAINTENANCE, PASSING, WARNING, HealthCheck
from chowk.core.records.service import ConnectProxy, Locality, NodeService, ServiceAddress, ServiceConnect, Weights

_OPTIONAL = ("Kind", "Proxy", "Locality")
HEALTH_STATUS_CODES = {PASSING: 200, WARNING: 429, CRITICAL: 503, MAINTENANCE: 503}
"""What a load balancer reads of `/v1/agent/health/*`."""


class AgentService(Record, frozen=True, kw_only=True):
    """One service instance registered on this agent."""

    kind: str = ""
    id: str
    service: str
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = msgspec.field(default_factory=dict)
    port: int = 0
    address: str = ""
    socket_path: str = ""
    tagged_addresses: dict[str, ServiceAddress] = msgspec.field(default_factory=dict)
    weights: Weights = Weights()
    enable_tag_override: bool = False
    proxy: ConnectProxy | None = None
    connect: ServiceConnect = ServiceConnect()
    locality: Locality | None = None
    create_index: int = 0
    modify_index: int = 0
    content_hash: str = ""
    datacenter: str = ""


def agent_service(service: NodeService, datacenter: str) -> AgentService:
    """The agent's view of a local service; its `content_hash` changes when anything else in it does."""
    record = AgentService(
        kind=service.kind,
        id=service.id,
        service=service.service,
        tags=service.tags,
        meta=service.meta,
        port=service.port,
        address=service.address,
        socket_path=service.socket_path,
        tagged_addresses=service.tagged_addresses,
        weights=service.weights,
        enable_tag_override=service.enable_tag_override,
        proxy=service.proxy if service.kind else None,
        connect=service.connect,
        locality=service.locality,
        datacenter=datacenter,
    )
    content = msgspec.json.encode(record, order="sorted")
    return msgspec.structs.replace(record, content_hash=hashlib.blake2b(content, digest_size=8).hexdigest())


def plain_service(record: AgentService) -> dict[str, Any]:
    """As JSON has it: what an ordinary service lacks is left out, as Consul does."""
    plain: dict[str, Any] = codec.to_builtins(record)
    return {key: value for key, value in plain.items() if value or key not in _OPTIONAL}


def health_info(status: str, service: AgentService, checks: Iterable[HealthCheck]) -> dict[str, Any]:
    """Consul's AgentServiceChecksInfo."""
    return {
        "AggregatedStatus": status,
        "Service": plain_service(service),
        "Checks": [codec.to_builtins(check) for check in checks],
    }


def checks_of(service_id: str, checks: Mapping[str, HealthCheck]) -> list[HealthCheck]:
    """The checks that decide an instance's health: its own and its node's, by id."""
    return [checks[key] for key in sorted(checks) if checks[key].service_id in ("", service_id)]
