"""Config entries: replicated settings of the mesh, one struct a kind.

Intentions live inside `service-intentions` entries, one entry a destination, as in Consul ≥ 1.9; `core.records.intention`
is the flat view of one source of such an entry.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from chowk.core.records.base import Record
from chowk.core.records.bypass import ServiceBypass
from chowk.core.records.config_entry_base import ConfigEntry
from chowk.core.records.mesh import Mesh
from chowk.core.records.resolver import LocalityPriority, ServiceResolver
from chowk.core.records.router import ServiceRouter
from chowk.core.records.service import Expose, MeshGateway
from chowk.core.records.splitter import ServiceSplitter
from chowk.core.records.traffic import AccessLogs, Concurrency, HeaderMatch, RateLimits

ALLOW = "allow"
DENY = "deny"


class HttpPermission(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The request attributes an L7 permission matches; all given ones must match."""

    path_exact: str = ""
    path_prefix: str = ""
    path_regex: str = ""
    header: tuple[HeaderMatch, ...] = ()
    methods: tuple[str, ...] = ()


class Permission(Record, frozen=True, kw_only=True):
    """One L7 rule of an intention's source; the first that matches decides."""

    action: str
    http: HttpPermission


class SourceIntention(Record, frozen=True, kw_only=True):
    """What one source may do to the entry's destination: `action`, or `permissions`, never both."""

    name: str
    action: str = ""
    permissions: tuple[Permission, ...] = ()
    precedence: int = 0
    type: str = "consul"
    description: str = ""
    legacy_id: str = msgspec.field(default="", name="LegacyID")
    legacy_meta: dict[str, str] = msgspec.field(default_factory=dict)
    legacy_create_time: str = ""
    legacy_update_time: str = ""


class ServiceIntentions(ConfigEntry, frozen=True, kw_only=True, tag="service-intentions"):
    """All sources' intentions towards destination `name` (`*` is any service)."""

    kind: ClassVar[str] = "service-intentions"
    sources: tuple[SourceIntention, ...] = ()


class ServiceDefaults(ConfigEntry, frozen=True, kw_only=True, omit_defaults=True, tag="service-defaults"):
    """Defaults of one service in the mesh."""

    kind: ClassVar[str] = "service-defaults"
    fields_since: ClassVar[dict[str, int]] = {"rate_limits": 4, "concurrency": 4, "intention_mode": 4}
    protocol: str = ""
    balance_inbound_connections: str = ""
    mesh_gateway: MeshGateway = MeshGateway()
    expose: Expose = Expose()
    external_sni: str = msgspec.field(default="", name="ExternalSNI")
    max_inbound_connections: int = 0
    local_connect_timeout_ms: int = 0
    local_request_timeout_ms: int = 0
    upstream_config: dict[str, Any] = msgspec.field(default_factory=dict)
    rate_limits: RateLimits = RateLimits()
    concurrency: Concurrency = Concurrency()
    intention_mode: str = ""
    """`permissive`: what intentions deny is let through, counted and shown; "" and `enforce`: it is denied."""


class ProxyDefaults(ConfigEntry, frozen=True, kw_only=True, omit_defaults=True, tag="proxy-defaults"):
    """Defaults of every proxy; its only name is `global`."""

    kind: ClassVar[str] = "proxy-defaults"
    fields_since: ClassVar[dict[str, int]] = {"access_logs": 4, "prioritize_by_locality": 4}
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    mode: str = ""
    mesh_gateway: MeshGateway = MeshGateway()
    expose: Expose = Expose()
    access_logs: AccessLogs = AccessLogs()
    prioritize_by_locality: LocalityPriority = LocalityPriority()
    """For the services whose resolver does not say."""


AnyConfigEntry = (
    ServiceIntentions
    | ServiceDefaults
    | ProxyDefaults
    | ServiceResolver
    | ServiceRouter
    | ServiceSplitter
    | Mesh
    | ServiceBypass
)
KINDS: dict[str, type[ConfigEntry]] = {
    "service-intentions": ServiceIntentions,
    "service-defaults": ServiceDefaults,
    "proxy-defaults": ProxyDefaults,
    "service-resolver": ServiceResolver,
    "service-router": ServiceRouter,
    "service-splitter": ServiceSplitter,
    "mesh": Mesh,
    "service-bypass": ServiceBypass,
}
