"""Rules of service-router entries."""

from __future__ import annotations

import math
from typing import Final

from chowk.connect.entries import faults, parts
from chowk.connect.entries.complaint import Complaint, Complaints, Place, shown
from chowk.connect.http1.authority import is_authority
from chowk.core.records.router import Route, RouteDestination, ServiceRouter
from chowk.core.records.traffic import HttpMatch, HttpRedirect, Mirror

ROUTES_MAX: Final = 512
RETRIES_MAX: Final = 100
CODES_MAX: Final = 64
RETRY_CONDITIONS: Final = (
    "5xx", "gateway-error", "reset", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
    "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
)  # fmt: skip
REDIRECTS: Final = (301, 302, 303, 307, 308)


def check(entry: ServiceRouter) -> Complaints:
    """All rules of the kind but those of time."""
    if len(entry.routes) > ROUTES_MAX:
        yield Complaint(("routes",), f"at most {ROUTES_MAX} routes")
        return
    for number, route in enumerate(entry.routes):
        yield from _route(route, ("routes", number))


def _route(route: Route, place: Place) -> Complaints:
    match = route.match.http if route.match is not None else None
    if match is not None:
        yield from _match(match, (*place, "match", "http"))
    if route.destination is not None:
        yield from _destination(route.destination, match or HttpMatch(), (*place, "destination"))


def _match(match: HttpMatch, place: Place) -> Complaints:
    yield from parts.paths(match, place)
    yield from parts.headers(match.header, (*place, "header"))
    yield from parts.query_params(match.query_param, (*place, "query_param"))
    yield from parts.methods(match.methods, (*place, "methods"))


def _destination(to: RouteDestination, match: HttpMatch, place: Place) -> Complaints:
    yield from parts.service(to.service, (*place, "service"))
    if to.prefix_rewrite:
        yield from parts.path_to(to.prefix_rewrite, (*place, "prefix_rewrite"))
        if not match.path_exact and not match.path_prefix:
            yield Complaint(
                (*place, "prefix_rewrite"),
                "cannot make use of PrefixRewrite without configuring either PathExact or PathPrefix",
            )
    for name in ("request_timeout", "idle_timeout", "per_try_timeout"):
        yield from parts.duration(getattr(to, name), (*place, name))
    whole_s, try_s = parts.seconds_of(to.request_timeout), parts.seconds_of(to.per_try_timeout)
    if 0 < whole_s < try_s:
        yield Complaint((*place, "per_try_timeout"), f"is longer than RequestTimeout ({to.request_timeout})")
    yield from _retries(to, place)
    yield from parts.header_edits(to.request_headers, (*place, "request_headers"))
    yield from parts.header_edits(to.response_headers, (*place, "response_headers"))
    yield from parts.fallback(to.fallback, (*place, "fallback"))
    if to.mirror is not None:
        yield from _mirror(to.mirror, (*place, "mirror"))
    if to.fault is not None:
        yield from faults.check(to.fault, (*place, "fault"))
    if to.redirect is not None:
        yield from _redirect(to.redirect, match, (*place, "redirect"))
        yield from _alone(to, place)


def _retries(to: RouteDestination, place: Place) -> Complaints:
    if not 0 <= to.num_retries <= RETRIES_MAX:
        yield Complaint((*place, "num_retries"), f"{to.num_retries} is not between 0 and {RETRIES_MAX}")
    if len(to.retry_on) > CODES_MAX or len(to.retry_on_status_codes) > CODES_MAX:
        yield Complaint(place, f"at most {CODES_MAX} conditions to retry on")
        return
    for number, condition in enumerate(to.retry_on):
        if condition not in RETRY_CONDITIONS:
            yield Complaint(
                (*place, "retry_on", number),
                f"contains an invalid retry condition: {shown(condition)}: use {', '.join(RETRY_CONDITIONS)}",
            )
    for number, code in enumerate(to.retry_on_status_codes):
        if not 100 <= code <= 599:
            yield Complaint((*place, "retry_on_status_codes", number), f"{code} is no HTTP status (100 to 599)")


def _mirror(mirror: Mirror, place: Place) -> Complaints:
    if not mirror.service:
        yield Complaint((*place, "service"), "is missing: who gets the copies")
    yield from parts.service(mirror.service, (*place, "service"))
    if not (math.isfinite(mirror.percent) and 0 < mirror.percent <= 100):
        yield Complaint((*place, "percent"), f"{mirror.percent:g} is no percentage (over 0, to 100)")


def _redirect(redirect: HttpRedirect, match: HttpMatch, place: Place) -> Complaints:
    if not (redirect.scheme or redirect.host or redirect.path or redirect.prefix_rewrite):
        yield Complaint(place, "leads back to where it comes from: give Scheme, Host, Path or PrefixRewrite")
    if redirect.scheme.lower() not in ("", "http", "https"):
        yield Complaint((*place, "scheme"), f"{shown(redirect.scheme)} is neither http nor https")
    if redirect.host and not is_authority(redirect.host.encode(errors="replace")):
        yield Complaint((*place, "host"), f"{shown(redirect.host)} is no host name or address with or without a port")
    if redirect.path and redirect.prefix_rewrite:
        yield Complaint((*place, "prefix_rewrite"), "give Path or PrefixRewrite, not both")
    if redirect.path:
        yield from parts.path_to(redirect.path, (*place, "path"))
    if redirect.prefix_rewrite:
        yield from parts.path_to(redirect.prefix_rewrite, (*place, "prefix_rewrite"))
        if not match.path_exact and not match.path_prefix:
            yield Complaint((*place, "prefix_rewrite"), "takes the place of a PathExact or PathPrefix; none is given")
    if not redirect.scheme and not redirect.host and _leads_back(redirect, match):
        yield Complaint(place, "leads back into the same route: a caller that follows it comes here again, for ever")
    if redirect.status not in REDIRECTS:
        yield Complaint((*place, "status"), f"{redirect.status} is no redirect: use {', '.join(map(str, REDIRECTS))}")


def _leads_back(redirect: HttpRedirect, match: HttpMatch) -> bool:
    """Whether the route takes the redirected request too, as far as its path alone decides."""
    to = redirect.path.partition("?")[0] or redirect.prefix_rewrite
    if not to or match.header or match.query_param or match.methods or match.path_regex:
        return False
    return to == match.path_exact if match.path_exact else to.startswith(match.path_prefix or "/")


def _alone(to: RouteDestination, place: Place) -> Complaints:
    """Nothing is sent on where requests are redirected; only the answer's headers may be edited."""
    others = [
        name
        for name in to.__struct_fields__
        if name not in ("redirect", "response_headers", "namespace", "partition")
        and getattr(to, name) not in ("", 0, False, (), None)
    ]
    for name in others:
        yield Complaint((*place, name), "has no effect beside Redirect: nothing is sent on")
