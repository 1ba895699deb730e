"""Why the proxy answers a request itself: one closed set of names, for the header `x-chowk-error`, logs and metrics."""

from __future__ import annotations

from typing import Final

import msgspec

ERROR_HEADER: Final = "x-chowk-error"
ERROR_KEY: Final = ERROR_HEADER.encode()


class Fault(msgspec.Struct, frozen=True):
    """`name` is for machines; `text` for people; `status` that of the answer."""

    name: str
    status: int
    text: str


BAD_REQUEST: Final = Fault("bad-request", 400, "the request cannot be read in one way only")
CLIENT_TIMEOUT: Final = Fault("client-timeout", 408, "the request did not come in time")
CLIENT_GONE: Final = Fault("client-gone", 0, "the client went away")
DENIED: Final = Fault("denied", 403, "denied by intentions")
RATE_LIMITED: Final = Fault("rate-limited", 429, "more requests than the rate allows")
OVERLOADED: Final = Fault("overloaded", 503, "the instance has as much work as it can take")
NO_ROUTE: Final = Fault("no-route", 404, "no route takes this request")
NO_INSTANCE: Final = Fault("no-healthy-instance", 503, "there is no healthy instance")
CIRCUIT_OPEN: Final = Fault("circuit-open", 503, "as many requests are in work or wait as the limits allow")
UNREACHABLE: Final = Fault("unreachable", 503, "no instance can be reached")
APPLICATION_UNREACHABLE: Final = Fault("application-unreachable", 503, "the application cannot be reached")
RESET: Final = Fault("upstream-reset", 502, "the connection ended before there was an answer")
BAD_RESPONSE: Final = Fault("bad-response", 502, "the answer cannot be read in one way only")
CUT: Final = Fault("upstream-cut", 502, "the connection ended before the answer did")
REQUEST_TIMEOUT: Final = Fault("request-timeout", 504, "there was no answer in time")
TRY_TIMEOUT: Final = Fault("try-timeout", 504, "no try had an answer in time")
STALLED: Final = Fault("stalled", 504, "nothing moved for too long")
INJECTED: Final = Fault("fault-injected", 503, "a fault was injected on purpose")
STOPPED: Final = Fault("stopped", 503, "the proxy stopped")

NO_WORK: Final = frozenset(
    fault.name.encode() for fault in (DENIED, RATE_LIMITED, OVERLOADED, APPLICATION_UNREACHABLE, UNREACHABLE)
)
"""Said by the proxy of an instance, these mean that its application has seen nothing of the request."""
FALLEN_BACK: Final = frozenset((NO_INSTANCE, UNREACHABLE, CIRCUIT_OPEN))
"""Answered by the route's fallback, where it has one."""
