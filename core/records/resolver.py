"""service-resolver: which instances a service's name means: subsets, redirect, failover, balancing."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from chowk.core.records.config_entry_base import ConfigEntry
from chowk.core.records.traffic import Part


class Subset(Part, frozen=True, kw_only=True):
    """Instances that `filter` picks (the language of `?filter=`, "" is all); only passing ones if `only_passing`."""

    filter: str = ""
    only_passing: bool = False


class ResolverRedirect(Part, frozen=True, kw_only=True):
    """The name means another service, subset or datacenter altogether. "" keeps its own."""

    service: str = ""
    service_subset: str = ""
    namespace: str = ""
    partition: str = ""
    datacenter: str = ""


class FailoverTarget(Part, frozen=True, kw_only=True):
    """One place to fail over to; "" keeps the resolver's own."""

    service: str = ""
    service_subset: str = ""
    namespace: str = ""
    partition: str = ""
    datacenter: str = ""


class FailoverPolicy(Part, frozen=True, kw_only=True):
    """`mode`: sequential or order-by-locality. Instances of other `regions` than these are never used (empty: all are)."""

    mode: str = ""
    regions: tuple[str, ...] = ()


class ResolverFailover(Part, frozen=True, kw_only=True):
    """Where to go when no instance is healthy: `targets` in order, or the older form of service, subset, datacenters."""

    service: str = ""
    service_subset: str = ""
    namespace: str = ""
    datacenters: tuple[str, ...] = ()
    targets: tuple[FailoverTarget, ...] = ()
    policy: FailoverPolicy = FailoverPolicy()


class RingHash(Part, frozen=True, kw_only=True):
    """Points on the ring; 0 leaves it to the balancer."""

    minimum_ring_size: int = 0
    maximum_ring_size: int = 0


class LeastRequest(Part, frozen=True, kw_only=True):
    """How many random instances are compared; 0 is 2."""

    choice_count: int = 0


class HashCookie(Part, frozen=True, kw_only=True):
    """The cookie that is made when a request has none: for the browser session, or for `ttl`."""

    session: bool = False
    ttl: str = ""
    path: str = ""


class HashPolicy(Part, frozen=True, kw_only=True):
    """What is hashed: `field` header, cookie or query_parameter by the name `field_value`, or the caller's address.

    `terminal`: when it is there, later policies are passed over.
    """

    field: str = ""
    field_value: str = ""
    cookie_config: HashCookie | None = None
    source_ip: bool = False
    terminal: bool = False


class LoadBalancer(Part, frozen=True, kw_only=True):
    """`policy`: "" (peak-EWMA of two choices), peak_ewma, random, round_robin, least_request, ring_hash or maglev."""

    policy: str = ""
    ring_hash_config: RingHash | None = None
    least_request_config: LeastRequest | None = None
    hash_policies: tuple[HashPolicy, ...] = ()


class LocalityPriority(Part, frozen=True, kw_only=True):
    """`mode` failover: instances of the own zone first, then of the own region, then others. "" or none: all alike."""

    mode: str = ""


class ServiceResolver(ConfigEntry, frozen=True, kw_only=True, omit_defaults=True, tag="service-resolver"):
    """What the service's name means. `failover` is by subset; `*` is for those not named."""

    kind: ClassVar[str] = "service-resolver"
    since: ClassVar[int] = 4
    default_subset: str = ""
    subsets: dict[str, Subset] = msgspec.field(default_factory=dict)
    redirect: ResolverRedirect | None = None
    failover: dict[str, ResolverFailover] = msgspec.field(default_factory=dict)
    connect_timeout: str = ""
    request_timeout: str = ""
    load_balancer: LoadBalancer | None = None
    prioritize_by_locality: LocalityPriority | None = None
