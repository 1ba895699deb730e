"""`connect { sidecar_service { … } }` becomes a registration of its own: the sidecar of a service.

Pure. Called by `agent.local.state`. What is left out is taken from the service, as Consul documents it under "Sidecar
Service Defaults": name, id, tags, meta, locality, token, the proxy's destination and application port, a port from the
agent's range, and two checks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

import msgspec

from chowk.core.addresses import joined
from chowk.core.definitions import CheckDefinition, ServiceDefinition
from chowk.core.errors import InvalidRequest
from chowk.core.records.service import KIND_CONNECT_PROXY, ConnectProxy, Weights

SUFFIX: Final = "-sidecar-proxy"
LOCAL_ADDRESS: Final = "127.0.0.1"
CHECK_INTERVAL_S: Final = 10.0
ANYWHERE: Final = {"0.0.0.0": LOCAL_ADDRESS, "::": "::1"}  # noqa: S104 - where to dial what listens on every address


def sidecar_id(definition: ServiceDefinition) -> str:
    """The id of the sidecar that `definition` asks for; "" when it asks for none."""
    asked = definition.connect.sidecar_service if definition.connect else None
    if asked is None:
        return ""
    return asked.id or f"{definition.id or definition.name}{SUFFIX}"


def expand_sidecar(definition: ServiceDefinition, port: int, node_address: str) -> ServiceDefinition | None:
    """The connect-proxy registration of the sidecar asked for, listening on `port` unless it names one, at `node_address`
    unless it has an address of its own; None if none is.

    InvalidRequest when the block holds what a sidecar cannot have.
    """
    asked = definition.connect.sidecar_service if definition.connect else None
    if asked is None:
        return None
    if asked.kind not in ("", KIND_CONNECT_PROXY):
        raise InvalidRequest(f'a sidecar_service is of kind "{KIND_CONNECT_PROXY}", not "{asked.kind}"')
    if asked.connect is not None and asked.connect.sidecar_service is not None:
        raise InvalidRequest("sidecar_service can't have a nested sidecar_service")
    parent_id = definition.id or definition.name
    if sidecar_id(definition) == parent_id:
        raise InvalidRequest(f'the sidecar of service "{parent_id}" needs an id of its own')
    proxy = _proxy(asked.proxy or ConnectProxy(), definition, parent_id)
    sidecar = msgspec.structs.replace(
        asked,
        kind=KIND_CONNECT_PROXY,
        id=sidecar_id(definition),
        name=asked.name or f"{definition.name}{SUFFIX}",
        tags=asked.tags or definition.tags,
        meta=asked.meta or definition.meta,
        weights=asked.weights if asked.weights != Weights() else definition.weights,
        locality=asked.locality or definition.locality,
        token=asked.token or definition.token,
        port=asked.port or port,
        proxy=proxy,
        connect=None,
        position=asked.position if asked.position.file else definition.position,
    )
    if asked.checks:
        return sidecar
    return msgspec.structs.replace(sidecar, checks=_default_checks(sidecar, proxy, parent_id, node_address))


def _proxy(proxy: ConnectProxy, definition: ServiceDefinition, parent_id: str) -> ConnectProxy:
    has_socket = bool(proxy.local_service_socket_path)
    inherits_socket = not has_socket and not proxy.local_service_port and bool(definition.socket_path)
    return msgspec.structs.replace(
        proxy,
        destination_service_name=proxy.destination_service_name or definition.name,
        destination_service_id=proxy.destination_service_id or parent_id,
        local_service_address=proxy.local_service_address or ("" if has_socket else LOCAL_ADDRESS),
        local_service_port=proxy.local_service_port or (0 if has_socket else definition.port),
        local_service_socket_path=definition.socket_path if inherits_socket else proxy.local_service_socket_path,
    )


def _default_checks(
    sidecar: ServiceDefinition, proxy: ConnectProxy, parent_id: str, node_address: str
) -> tuple[CheckDefinition, ...]:
    """The first dials the sidecar where it listens (`agent.proxies.snapshots`): seldom on loopback in a cluster."""
    bound = proxy.config.get("bind_address")
    host = bound if isinstance(bound, str) and bound else sidecar.address or node_address
    target = joined(ANYWHERE.get(host, host), sidecar.port)
    return (
        CheckDefinition(name="Connect Sidecar Listening", tcp=target, interval_s=CHECK_INTERVAL_S),
        CheckDefinition(name=f"Connect Sidecar Aliasing {parent_id}", alias_service=parent_id),
    )


def choose_port(
    ports: range,
    remembered: Mapping[str, int],
    used: Collection[int],
    sidecar: str,
    is_taken: Callable[[int], bool] = lambda _port: False,
) -> int:
    """The port of `sidecar`: the one it had, else the lowest that nobody has had, else the lowest that nobody uses.

    `remembered` maps sidecar ids to ports they were given, also of sidecars that are gone; `used` are the ports of other
    services; `is_taken` tells of a port that a process of this host listens on. The port it had is not asked about: its own
    proxy, of before a restart, may be listening there. InvalidRequest when every port is in use.
    """
    before = remembered.get(sidecar)
    if before in ports and before not in used:
        return int(before or 0)
    had = set(remembered.values())
    free = [port for port in ports if port not in used]
    fresh = (port for port in free if port not in had)
    again = (port for port in free if port in had)
    chosen = next((port for port in chain(fresh, again) if not is_taken(port)), None)
    if chosen is not None:
        return chosen
    span = f"{ports.start}-{ports.stop - 1}" if len(ports) else "none is configured"
    raise InvalidRequest(
        f"none left in the configured sidecar port range ({span}) for {sidecar}; "
        "widen ports.sidecar_min_port and ports.sidecar_max_port, or give the sidecar_service a port"
    )


def explicit_ports(services: Iterable[ServiceDefinition]) -> Iterator[int]:
    """The ports that the definitions name themselves: no sidecar is given one of them."""
    for service in services:
        sidecar = service.connect.sidecar_service if service.connect else None
        yield from (port for port in (service.port, sidecar.port if sidecar else 0) if port)
