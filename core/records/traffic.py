"""Parts that config entries of the mesh share: conditions on requests, edits of headers, faults, mirrors, limits.

Durations are texts as people write them ("1.5s"), "" where none is set: so the JSON of an entry is what was written.
`connect.chain` makes seconds of them. Percentages are 0 to 100. Everything here has been checked before it is stored.
"""

from __future__ import annotations

import msgspec

from chowk.core.records.base import Record


class Part(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a config entry; what is empty is left out of its JSON, as in Consul."""


class HeaderMatch(Part, frozen=True, kw_only=True):
    """One condition on a header; exactly one of the match fields is set."""

    name: str
    present: bool = False
    exact: str = ""
    prefix: str = ""
    suffix: str = ""
    contains: str = ""
    regex: str = ""
    invert: bool = False
    ignore_case: bool = False


class QueryMatch(Part, frozen=True, kw_only=True):
    """One condition on a parameter of the query string; exactly one of the match fields is set."""

    name: str
    present: bool = False
    exact: str = ""
    regex: str = ""


class HttpMatch(Part, frozen=True, kw_only=True):
    """Which requests a route is about: all given conditions hold. At most one of the path fields is set."""

    path_exact: str = ""
    path_prefix: str = ""
    path_regex: str = ""
    case_insensitive: bool = False
    header: tuple[HeaderMatch, ...] = ()
    query_param: tuple[QueryMatch, ...] = ()
    methods: tuple[str, ...] = ()


class HeaderEdits(Part, frozen=True, kw_only=True):
    """Headers to change: `set` replaces, `add` appends, `remove` drops; removed first, then set, then added."""

    add: dict[str, str] = msgspec.field(default_factory=dict)
    set: dict[str, str] = msgspec.field(default_factory=dict)
    remove: tuple[str, ...] = ()


class FaultDelay(Part, frozen=True, kw_only=True):
    """Hold `percent` of the requests for `duration`."""

    percent: float
    duration: str


class FaultAbort(Part, frozen=True, kw_only=True):
    """Answer `percent` of the requests with `status`, without asking the service."""

    percent: float
    status: int


class Fault(Part, frozen=True, kw_only=True):
    """Harm done on purpose, until `expires` (RFC 3339). No percentage is over `max_percent`, the guard against a typo."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None
    max_percent: float = 5.0
    expires: str = ""


class Mirror(Part, frozen=True, kw_only=True):
    """Send a copy of `percent` of the requests to another service; its answers are dropped."""

    service: str
    service_subset: str = ""
    percent: float = 100.0


class HttpRedirect(Part, frozen=True, kw_only=True):
    """Answer with a redirect. "" keeps that part of the request's own URL."""

    scheme: str = ""
    host: str = ""
    path: str = ""
    prefix_rewrite: str = ""
    status: int = 302


class Fallback(Part, frozen=True, kw_only=True):
    """The answer when a request is shed, or no instance can be reached."""

    status: int = 503
    body: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class CallerRate(Part, frozen=True, kw_only=True):
    """The rate of one calling service; name `*`: of each that is not named."""

    name: str
    requests_per_second: int
    requests_max_burst: int = 0


class RouteRate(Part, frozen=True, kw_only=True):
    """The rate of the requests whose path matches; one of the path fields is set."""

    path_exact: str = ""
    path_prefix: str = ""
    path_regex: str = ""
    requests_per_second: int = 0
    requests_max_burst: int = 0


class InstanceRate(Part, frozen=True, kw_only=True):
    """Requests a second that one instance takes, all callers together; `routes` have their own. 0: no limit."""

    requests_per_second: int = 0
    requests_max_burst: int = 0
    routes: tuple[RouteRate, ...] = ()


class RateLimits(Part, frozen=True, kw_only=True):
    """Rates of a service, kept by each of its sidecars. More is answered 429 (a TCP connection: closed)."""

    instance_level: InstanceRate = InstanceRate()
    callers: tuple[CallerRate, ...] = ()


class Concurrency(Part, frozen=True, kw_only=True):
    """Requests in work at once in one instance. More wait in a short queue, the rest is shed, low priority first.

    `limit` is fixed, or the highest that `adaptive` may find by watching latency. `priority_header` names a request
    header with `critical`, `default` or `sheddable`; from callers that are not in `trusted_callers` it is ignored
    (empty: all are trusted).
    """

    limit: int = 0
    adaptive: bool = False
    limit_min: int = 0
    priority_header: str = ""
    trusted_callers: tuple[str, ...] = ()
    fallback: Fallback = Fallback()


class AccessLogs(Part, frozen=True, kw_only=True):
    """One JSON line a request. `type`: stdout, stderr or file (then `path`). Of those that went well, `sample_percent`."""

    enabled: bool = False
    disable_listener_logs: bool = False
    type: str = ""
    path: str = ""
    json_format: str = ""
    text_format: str = ""
    sample_percent: float = 100.0
