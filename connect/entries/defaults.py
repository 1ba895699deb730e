"""Rules of service-defaults and proxy-defaults entries, and of blocks that have no schema."""

from __future__ import annotations

from typing import Any, Final

from chowk.connect.entries import parts
from chowk.connect.entries.complaint import Complaint, Complaints, Place, shown
from chowk.connect.entries.resolver import LOCALITY_MODES
from chowk.core.errors import InvalidRequest
from chowk.core.limits import check_free
from chowk.core.records.config_entry import ProxyDefaults, ServiceDefaults
from chowk.core.records.service import Expose, MeshGateway
from chowk.core.records.traffic import AccessLogs, Concurrency, RateLimits

GLOBAL: Final = "global"
PROTOCOLS: Final = ("tcp", "http", "http2", "grpc")
GATEWAY_MODES: Final = ("", "none", "local", "remote")
PROXY_MODES: Final = ("", "direct")
INTENTION_MODES: Final = ("", "enforce", "permissive")
LOG_TYPES: Final = ("", "stdout", "stderr", "file")
EXPOSE_PATHS_MAX: Final = 128
RATES_MAX: Final = 1024
_PORT_MAX: Final = 65_535
_NUMBER_MAX: Final = 2**31 - 1


def check_service(entry: ServiceDefaults) -> Complaints:
    """All rules of service-defaults."""
    if entry.protocol:
        yield from parts.one_of(entry.protocol, PROTOCOLS, ("protocol",))
    place: Place = ("balance_inbound_connections",)
    yield from parts.one_of(entry.balance_inbound_connections, ("", "exact_balance"), place)
    for name in ("max_inbound_connections", "local_connect_timeout_ms", "local_request_timeout_ms"):
        yield from _number(getattr(entry, name), (name,))
    if len(entry.external_sni) > 256:
        yield Complaint(("external_sni",), "is too long (limit: 256 characters)")
    yield from _gateway(entry.mesh_gateway)
    yield from _expose(entry.expose)
    yield from _free(entry.upstream_config, "upstream_config")
    yield from _rates(entry.rate_limits)
    yield from _concurrency(entry.concurrency, ("concurrency",))
    yield from parts.one_of(entry.intention_mode, INTENTION_MODES, ("intention_mode",))


def check_proxy(entry: ProxyDefaults) -> Complaints:
    """All rules of proxy-defaults."""
    if entry.name != GLOBAL:
        yield Complaint(("name",), f'invalid name ({shown(entry.name)}), only "{GLOBAL}" is supported')
    if entry.mode not in PROXY_MODES:
        yield Complaint(("mode",), f"{shown(entry.mode)} is not supported: use direct")
    yield from _gateway(entry.mesh_gateway)
    yield from _expose(entry.expose)
    yield from _free(entry.config, "config")
    protocol = entry.config.get("protocol")
    if protocol is not None and protocol not in ("", *PROTOCOLS):
        yield Complaint(("config",), f"invalid protocol {shown(str(protocol))}: use {', '.join(PROTOCOLS)}")
    yield from _access_logs(entry.access_logs, ("access_logs",))
    place: Place = ("prioritize_by_locality", "mode")
    yield from parts.one_of(entry.prioritize_by_locality.mode, LOCALITY_MODES, place)


def _gateway(gateway: MeshGateway) -> Complaints:
    yield from parts.one_of(gateway.mode, GATEWAY_MODES, ("mesh_gateway", "mode"))


def _number(value: int, place: Place) -> Complaints:
    if not 0 <= value <= _NUMBER_MAX:
        yield Complaint(place, f"must be between 0 and {_NUMBER_MAX}, not {value}")


def _expose(expose: Expose) -> Complaints:
    if len(expose.paths) > EXPOSE_PATHS_MAX:
        yield Complaint(("expose", "paths"), f"at most {EXPOSE_PATHS_MAX} paths")
        return
    for number, path in enumerate(expose.paths):
        place: Place = ("expose", "paths", number)
        if path.path and not path.path.startswith("/"):
            yield Complaint((*place, "path"), f"must begin with '/': {shown(path.path)}")
        for name in ("listener_port", "local_path_port"):
            if not 0 <= getattr(path, name) <= _PORT_MAX:
                yield Complaint((*place, name), f"must be between 0 and {_PORT_MAX}")
        yield from parts.one_of(path.protocol, ("", "http", "http2"), (*place, "protocol"))


def _rates(limits: RateLimits) -> Complaints:
    level, place = limits.instance_level, ("rate_limits", "instance_level")
    yield from _rate(level.requests_per_second, level.requests_max_burst, place)
    if len(level.routes) + len(limits.callers) > RATES_MAX:
        yield Complaint(("rate_limits",), f"at most {RATES_MAX} rates")
        return
    for number, route in enumerate(level.routes):
        at: Place = (*place, "routes", number)
        yield from parts.paths(route, at, required=True)
        yield from _rate(route.requests_per_second, route.requests_max_burst, at, required=True)
    seen: set[str] = set()
    for number, caller in enumerate(limits.callers):
        at = ("rate_limits", "callers", number)
        if not caller.name:
            yield Complaint((*at, "name"), 'is missing: the calling service, or "*" for each that is not named')
        yield from parts.service(caller.name, (*at, "name"), any_too=True)
        if caller.name in seen:
            yield Complaint((*at, "name"), f"{shown(caller.name)} is given more than once")
        seen.add(caller.name)
        yield from _rate(caller.requests_per_second, caller.requests_max_burst, at, required=True)


def _rate(per_second: int, burst: int, place: Place, *, required: bool = False) -> Complaints:
    yield from _number(per_second, (*place, "requests_per_second"))
    yield from _number(burst, (*place, "requests_max_burst"))
    if required and per_second == 0:
        text = "is missing, or 0: a limit of no requests at all; what may not call at all is denied by an intention"
        yield Complaint((*place, "requests_per_second"), text)
    elif burst > 0 and per_second == 0:
        yield Complaint((*place, "requests_max_burst"), "needs RequestsPerSecond: the rate that fills it again")


def _concurrency(limits: Concurrency, place: Place) -> Complaints:
    yield from _number(limits.limit, (*place, "limit"))
    yield from _number(limits.limit_min, (*place, "limit_min"))
    if limits != Concurrency() and not limits.limit and not limits.adaptive:
        yield Complaint((*place, "limit"), "is missing, or 0: give a limit over 0, or adaptive = true to have it found")
    if limits.limit_min and not limits.adaptive:
        yield Complaint((*place, "limit_min"), "is of adaptive limits: set adaptive = true, or leave it out")
    elif 0 < limits.limit < limits.limit_min:
        yield Complaint((*place, "limit_min"), f"is over limit ({limits.limit})")
    if limits.priority_header:
        yield from parts.header_name(limits.priority_header, (*place, "priority_header"))
    elif limits.trusted_callers:
        yield Complaint((*place, "trusted_callers"), "has no effect without priority_header")
    if len(limits.trusted_callers) > RATES_MAX:
        yield Complaint((*place, "trusted_callers"), f"at most {RATES_MAX} callers")
        return
    for number, name in enumerate(limits.trusted_callers):
        if not name:
            yield Complaint((*place, "trusted_callers", number), "is empty: name a service")
        yield from parts.service(name, (*place, "trusted_callers", number))
    yield from parts.fallback(limits.fallback, (*place, "fallback"))


def _access_logs(logs: AccessLogs, place: Place) -> Complaints:
    yield from parts.one_of(logs.type, LOG_TYPES, (*place, "type"))
    if logs.type == "file" and not (logs.path.startswith("/") and logs.path.isprintable()):
        yield Complaint((*place, "path"), "must be given for the type file: an absolute path")
    if logs.path and logs.type != "file":
        yield Complaint((*place, "path"), 'is of the type file: set type = "file", or leave it out')
    if logs.json_format and logs.text_format:
        yield Complaint((*place, "text_format"), "give JSONFormat or TextFormat, not both")
    for name in ("path", "json_format", "text_format"):
        if len(getattr(logs, name)) > 4096:
            yield Complaint((*place, name), "is too long (limit: 4096 characters)")
    yield from parts.percent(logs.sample_percent, (*place, "sample_percent"))


def _free(config: dict[str, Any], name: str) -> Complaints:
    try:
        check_free(config, "it")
    except InvalidRequest as error:
        yield Complaint((name,), str(error).removeprefix("it "))
