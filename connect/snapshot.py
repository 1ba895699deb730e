"""What one sidecar must know to do its work: the only thing a proxy acts on, built by `agent.proxies`, one immutable value.

A proxy keeps serving by its last snapshot when the agent and every server are gone.
"""

from __future__ import annotations

import msgspec

from chowk.core.records.ca import CARoots
from chowk.core.records.intention import Intention
from chowk.core.records.traffic import (
    AccessLogs,
    Concurrency,
    Fallback,
    HeaderEdits,
    HttpMatch,
    HttpRedirect,
    RateLimits,
)


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of a snapshot's parts."""


class Endpoint(Part, frozen=True, kw_only=True):
    """One healthy place to dial: a sidecar's public listener (or a native instance). `key` is `node/service-id`."""

    key: str
    address: str
    port: int
    weight: int = 1
    region: str = ""
    zone: str = ""


class Target(Part, frozen=True, kw_only=True):
    """Instances of one service (or subset) in one datacenter: those that may be dialled now, in the order of their keys.

    `id` is the discovery chain's; `spiffe_id` the identity that the far end must prove.
    """

    id: str
    service: str
    datacenter: str
    spiffe_id: str
    endpoints: tuple[Endpoint, ...] = ()


class HashKey(Part, frozen=True, kw_only=True):
    """What of a request the balancer hashes: `header`, `cookie` or `query` by `name`, or `source_ip`.

    A cookie that a request lacks is made: for `cookie_ttl_s` seconds (0: the browser's session), for `cookie_path`;
    when `makes_cookie`.
    """

    source: str
    name: str = ""
    makes_cookie: bool = False
    cookie_ttl_s: float = 0.0
    cookie_path: str = ""
    terminal: bool = False


class Balance(Part, frozen=True, kw_only=True):
    """`policy`: peak_ewma, round_robin, least_request, random, ring_hash or maglev. 0: the balancer's own default."""

    policy: str = "peak_ewma"
    choices: int = 0
    ring_size_min: int = 0
    ring_size_max: int = 0
    hash_keys: tuple[HashKey, ...] = ()


class Locality(Part, frozen=True, kw_only=True):
    """Where this proxy runs. `prefer_near`: own zone first, then own region, then others. `allowed_regions`: no endpoint of
    another region is ever used (empty: all may be; an endpoint that names no region counts as of the own one).
    """

    region: str = ""
    zone: str = ""
    prefer_near: bool = False
    allowed_regions: tuple[str, ...] = ()


class Outlier(Part, frozen=True, kw_only=True):
    """Passive health: when an endpoint is left out for a while. 0 of `max_failures` turns it off."""

    interval_s: float = 10.0
    max_failures: int = 5
    enforcing_percent: int = 100
    ejected_percent_max: int = 50
    ejection_s: float = 5.0


class Limits(Part, frozen=True, kw_only=True):
    """Circuit breakers of one cluster; 0 is no limit of its own. The budget bounds retries to `retry_percent` of the
    requests in work, or `retries_per_s_min` where that is more.
    """

    connections_max: int = 0
    pending_max: int = 0
    requests_max: int = 0
    endpoint_requests_max: int = 0
    retry_percent: float = 20.0
    retries_per_s_min: float = 3.0


class Cluster(Part, frozen=True, kw_only=True):
    """One end of the discovery chain: `targets` in the order of failing over, ids of `ProxySnapshot.targets`."""

    name: str
    targets: tuple[str, ...]
    connect_timeout_s: float = 5.0
    request_timeout_s: float = 0.0
    balance: Balance = Balance()
    locality: Locality = Locality()
    outlier: Outlier = Outlier()
    limits: Limits = Limits()


class Split(Part, frozen=True, kw_only=True):
    """`weight` of all the weights of a route goes to `cluster` (a name of the upstream's `clusters`)."""

    cluster: str
    weight: int = 10_000
    request_headers: tuple[HeaderEdits, ...] = ()
    response_headers: tuple[HeaderEdits, ...] = ()


class StickyKey(Part, frozen=True, kw_only=True):
    """Who came to one split comes to it again: by a header's value, or by a cookie's, made when there is none."""

    header: str = ""
    cookie: str = ""
    ttl_s: float = 0.0


class Retries(Part, frozen=True, kw_only=True):
    """`attempts` more after the first. `conditions` are Envoy's names as Consul takes them (5xx, gateway-error, reset,
    connect-failure, retriable-4xx, refused-stream, …). A request that is not idempotent is sent again only when it surely
    did no work.
    """

    attempts: int = 0
    conditions: tuple[str, ...] = ()
    status_codes: tuple[int, ...] = ()


class FaultPlan(Part, frozen=True, kw_only=True):
    """Harm done on purpose until `expires_s` (Unix seconds); the percentages are already within their guard."""

    delay_percent: float = 0.0
    delay_s: float = 0.0
    abort_percent: float = 0.0
    abort_status: int = 0
    expires_s: float = 0.0


class MirrorPlan(Part, frozen=True, kw_only=True):
    """A copy of `percent` of the requests goes to `cluster`."""

    cluster: str
    percent: float = 100.0


class HttpRoute(Part, frozen=True, kw_only=True):
    """What happens to the requests that `match` (None: to all). `name` is for metrics: of a closed set.

    With `redirect` nothing is sent on. `timeout_s` is for the whole request, retries included; 0 is none.
    """

    name: str
    match: HttpMatch | None = None
    splits: tuple[Split, ...] = ()
    sticky: StickyKey | None = None
    prefix_rewrite: str = ""
    request_headers: HeaderEdits | None = None
    response_headers: HeaderEdits | None = None
    timeout_s: float = 0.0
    try_timeout_s: float = 0.0
    idle_timeout_s: float = 0.0
    retries: Retries = Retries()
    mirror: MirrorPlan | None = None
    fault: FaultPlan | None = None
    redirect: HttpRedirect | None = None
    fallback: Fallback | None = None


class UpstreamSnapshot(Part, frozen=True, kw_only=True):
    """One local listener and where its connections go: `routes` and `clusters` are the compiled discovery chain, whose last
    route matches everything and is the one that TCP connections take.
    """

    name: str
    datacenter: str = ""
    bind_address: str = "127.0.0.1"
    bind_port: int = 0
    bind_socket_path: str = ""
    bind_socket_mode: str = ""
    protocol: str = "tcp"
    routes: tuple[HttpRoute, ...] = ()
    clusters: dict[str, Cluster] = {}


class InboundSnapshot(Part, frozen=True, kw_only=True):
    """The public mTLS listener and the application behind it (`local_socket_path` wins over address and port).

    `permissive`: what intentions deny is let through and counted. `request_timeout_s` 0 is none.
    """

    bind_address: str
    bind_port: int
    local_address: str = "127.0.0.1"
    local_port: int = 0
    local_socket_path: str = ""
    protocol: str = "tcp"
    connect_timeout_s: float = 5.0
    connections_max: int = 0
    request_timeout_s: float = 0.0
    rate_limits: RateLimits = RateLimits()
    concurrency: Concurrency = Concurrency()
    permissive: bool = False


class Bypass(Part, frozen=True, kw_only=True):
    """Connections to `service` are let through until `expires_s` (Unix seconds): intentions do not deny them, and the dates
    of certificates do not count. Who connects is still proven. `host`: on this host alone, and ended there.
    """

    service: str
    expires_s: float
    reason: str = ""
    by: str = ""
    host: bool = False


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
    targets: dict[str, Target] = {}
    """By id: what the clusters of all upstreams name."""
    access_logs: AccessLogs = AccessLogs()
    bypasses: tuple[Bypass, ...] = ()
    """Of `service` and of the services it calls."""


class SpiffeService(Part, frozen=True, kw_only=True):
    """The parts of `spiffe://<trust domain>/ns/<namespace>/dc/<datacenter>/svc/<service>`."""

    trust_domain: str
    namespace: str = "default"
    datacenter: str
    service: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/dc/{self.datacenter}/svc/{self.service}"
