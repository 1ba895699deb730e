"""What DNS is told by the configuration, and the zone that follows from it. Made by boot, read by every core here.

The fields are those of the agent's `DnsConfig`, so that boot may write
`msgspec.convert(config.dns, DnsSettings, from_attributes=True)`.
"""

from __future__ import annotations

import msgspec

from chowk.dns.records import Name, name_of


class SoaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The timers of the zone's SOA record, in seconds."""

    refresh_s: int = 3600
    retry_s: int = 600
    expire_s: int = 86400
    min_ttl_s: int = 0


class RateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Replies over UDP a second to one network of clients, of one kind; 0 is no limit. `exempt` are networks without one.

    Of the replies over the limit every `slip`-th is sent truncated, the others are dropped; 0 drops all.
    """

    per_second: int = 1000
    slip: int = 1
    exempt: tuple[str, ...] = ("127.0.0.0/8", "::1/128")


class DnsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`service_ttl_s` maps a service name, a prefix `web*` or `*` to seconds.

    `recursors` are `IP`, `IP:port` or `[IPv6]:port`, asked in their order or in a `random` one; `udp_answer_limit` counts
    for clients without EDNS.
    """

    domain: str = "consul"
    alt_domain: str = ""
    recursors: tuple[str, ...] = ()
    recursor_timeout_s: float = 2.0
    recursor_strategy: str = "sequential"
    node_ttl_s: float = 0.0
    service_ttl_s: dict[str, float] = msgspec.field(default_factory=dict)
    only_passing: bool = False
    enable_truncate: bool = False
    udp_answer_limit: int = 3
    a_record_limit: int = 0
    soa: SoaSettings = SoaSettings()
    wire_cache: bool = True
    response_rate_limit: RateSettings = RateSettings()


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the name space that this agent answers for. `domains`, in lower case: the domain, the alternative."""

    settings: DnsSettings
    domains: tuple[Name, ...]
    datacenter: str
    node_name: str


def make_zone(settings: DnsSettings, node_name: str, datacenter: str) -> Zone:
    """The zone of these settings. ValueError when a domain cannot be one."""
    domains = []
    for text in (settings.domain, settings.alt_domain):
        if not text:
            continue
        name = name_of(text.lower())
        if not name:
            raise ValueError(f'"{text}" cannot be a DNS domain: labels are 1 to 63 bytes, joined by dots')
        domains.append(name)
    if not domains:
        raise ValueError("DNS needs a domain")
    return Zone(settings=settings, domains=tuple(domains), datacenter=datacenter, node_name=node_name)


def service_ttl(settings: DnsSettings, service: str) -> int:
    """Seconds a service's records may be kept: its own entry, else that of the longest prefix (`web*`, `*`), else 0."""
    exact = settings.service_ttl_s.get(service)
    if exact is not None:
        return whole_ttl(exact)
    best, seconds = -1, 0.0
    for pattern, ttl_s in settings.service_ttl_s.items():
        if pattern.endswith("*") and service.startswith(pattern[:-1]) and len(pattern) > best:
            best, seconds = len(pattern), ttl_s
    return whole_ttl(seconds)


def node_ttl(settings: DnsSettings) -> int:
    """Seconds a node's records may be kept."""
    return whole_ttl(settings.node_ttl_s)


def whole_ttl(seconds: float) -> int:
    """A TTL as records carry it."""
    return max(0, min(int(seconds), 2**31 - 1))  # RFC 2181 section 8
