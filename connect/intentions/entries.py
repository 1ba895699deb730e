"""Checks config entries of every kind before they are proposed. Pure; called by endpoints, and at bootstrap.

Every rule raises InvalidRequest naming the place and what would be right.
"""

from __future__ import annotations

from typing import Any, Final

from chowk.connect.intentions import validation
from chowk.core.errors import InvalidRequest
from chowk.core.records.config_entry import AnyConfigEntry, ProxyDefaults, ServiceDefaults, ServiceIntentions
from chowk.core.records.intention import ANY
from chowk.core.records.service import Expose, MeshGateway

GLOBAL: Final = "global"
PROTOCOLS: Final = ("tcp", "http", "http2", "grpc")
GATEWAY_MODES: Final = ("", "none", "local", "remote")
PROXY_MODES: Final = ("", "direct")
META_PAIRS_MAX: Final = 64
META_KEY_CHARS_MAX: Final = 128
META_VALUE_CHARS_MAX: Final = 512
EXPOSE_PATHS_MAX: Final = 128
CONFIG_DEPTH_MAX: Final = 16
CONFIG_VALUES_MAX: Final = 4096
_PORT_MAX: Final = 65_535
_NUMBER_MAX: Final = 2**31 - 1


def check_entry(entry: AnyConfigEntry) -> None:
    """All rules of the entry's kind."""
    _check_meta(entry)
    match entry:
        case ServiceIntentions():
            validation.check_service_intentions(entry)
        case ServiceDefaults():
            _check_service_defaults(entry)
        case ProxyDefaults():
            _check_proxy_defaults(entry)


def _check_meta(entry: AnyConfigEntry) -> None:
    if len(entry.meta) > META_PAIRS_MAX:
        raise InvalidRequest(f"Meta exceeds maximum element count {META_PAIRS_MAX}")
    for key, value in entry.meta.items():
        if not key or len(key) > META_KEY_CHARS_MAX:
            raise InvalidRequest(
                f'Meta: key "{key[:META_KEY_CHARS_MAX]}" must have 1 to {META_KEY_CHARS_MAX} characters'
            )
        if len(value) > META_VALUE_CHARS_MAX:
            raise InvalidRequest(f'Meta: the value of "{key}" is too long (limit: {META_VALUE_CHARS_MAX} characters)')


def _check_service_defaults(entry: ServiceDefaults) -> None:
    validation.check_name(entry.name, "Name")
    if entry.name == ANY:
        raise InvalidRequest('Name: service-defaults are of one service, not of "*": use proxy-defaults for all')
    if entry.protocol and entry.protocol not in PROTOCOLS:
        raise InvalidRequest(f'Protocol: invalid value "{entry.protocol}": use {", ".join(PROTOCOLS)}')
    if entry.balance_inbound_connections not in ("", "exact_balance"):
        raise InvalidRequest(
            f'BalanceInboundConnections: invalid value "{entry.balance_inbound_connections}": use exact_balance'
        )
    for name, number in (
        ("MaxInboundConnections", entry.max_inbound_connections),
        ("LocalConnectTimeoutMs", entry.local_connect_timeout_ms),
        ("LocalRequestTimeoutMs", entry.local_request_timeout_ms),
    ):
        if not 0 <= number <= _NUMBER_MAX:
            raise InvalidRequest(f"{name} must be between 0 and {_NUMBER_MAX}, not {number}")
    if len(entry.external_sni) > 256:
        raise InvalidRequest("ExternalSNI is too long (limit: 256 characters)")
    _check_gateway(entry.mesh_gateway)
    _check_expose(entry.expose)
    check_free(entry.upstream_config, "UpstreamConfig")


def _check_proxy_defaults(entry: ProxyDefaults) -> None:
    if entry.name != GLOBAL:
        raise InvalidRequest(f'invalid name ("{entry.name}"), only "{GLOBAL}" is supported')
    if entry.mode not in PROXY_MODES:
        raise InvalidRequest(f'Mode: "{entry.mode}" is not supported: use direct')
    _check_gateway(entry.mesh_gateway)
    _check_expose(entry.expose)
    check_free(entry.config, "Config")
    protocol = entry.config.get("protocol")
    if protocol is not None and protocol not in PROTOCOLS:
        raise InvalidRequest(f'Config: invalid protocol "{protocol}": use {", ".join(PROTOCOLS)}')


def _check_gateway(gateway: MeshGateway) -> None:
    if gateway.mode not in GATEWAY_MODES:
        raise InvalidRequest(f'MeshGateway.Mode: invalid value "{gateway.mode}": use none, local or remote')


def _check_expose(expose: Expose) -> None:
    if len(expose.paths) > EXPOSE_PATHS_MAX:
        raise InvalidRequest(f"Expose: at most {EXPOSE_PATHS_MAX} paths")
    for number, path in enumerate(expose.paths):
        place = f"Expose.Paths[{number}]"
        if path.path and not path.path.startswith("/"):
            raise InvalidRequest(f"{place}.Path must begin with '/': {path.path!r}")
        if not (0 <= path.listener_port <= _PORT_MAX and 0 <= path.local_path_port <= _PORT_MAX):
            raise InvalidRequest(f"{place}: ports must be between 0 and {_PORT_MAX}")
        if path.protocol not in ("", "http", "http2"):
            raise InvalidRequest(f'{place}.Protocol: invalid value "{path.protocol}": use http or http2')


def check_free(config: dict[str, Any], place: str) -> None:
    """What has no schema is at least bounded in depth and number, so that nobody who walks it can be overrun."""
    level: list[Any] = [config]
    count = 0
    for _depth in range(CONFIG_DEPTH_MAX):
        level = [child for value in level for child in _children(value)]
        count += len(level)
        if count > CONFIG_VALUES_MAX:
            raise InvalidRequest(f"{place} holds over {CONFIG_VALUES_MAX} values")
        if not level:
            return
    raise InvalidRequest(f"{place} is nested over {CONFIG_DEPTH_MAX} deep")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []
