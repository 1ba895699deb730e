"""service-router: which requests of a service go where. Only for services whose protocol is HTTP."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from chowk.core.records.config_entry_base import ConfigEntry
from chowk.core.records.traffic import Fallback, Fault, HeaderEdits, HttpMatch, HttpRedirect, Mirror, Part


class RouteMatch(Part, frozen=True, kw_only=True):
    """`http` None matches every request."""

    http: HttpMatch | None = None


class RouteDestination(Part, frozen=True, kw_only=True):
    """Where a request goes and what happens on the way. `service` "" is the router's own."""

    service: str = ""
    service_subset: str = ""
    namespace: str = ""
    partition: str = ""
    prefix_rewrite: str = ""
    request_timeout: str = ""
    idle_timeout: str = ""
    per_try_timeout: str = ""
    num_retries: int = 0
    retry_on_connect_failure: bool = False
    retry_on: tuple[str, ...] = ()
    retry_on_status_codes: tuple[int, ...] = ()
    request_headers: HeaderEdits | None = None
    response_headers: HeaderEdits | None = None
    mirror: Mirror | None = None
    fault: Fault | None = None
    redirect: HttpRedirect | None = None
    fallback: Fallback | None = None


class Route(Part, frozen=True, kw_only=True):
    """The first route that matches decides."""

    match: RouteMatch | None = None
    destination: RouteDestination | None = None


class ServiceRouter(ConfigEntry, frozen=True, kw_only=True, omit_defaults=True, tag="service-router"):
    """What no route matches goes to the service itself."""

    kind: ClassVar[str] = "service-router"
    since: ClassVar[int] = 4
    routes: tuple[Route, ...] = msgspec.field(default=())
