"""The rules of a service: its name, meta, address, and its place in the mesh. Called by `definitions` and `build`."""

from __future__ import annotations

import re
from ipaddress import ip_address

from chowk.agent.config.decode import Decoded
from chowk.agent.config.problems import Problems
from chowk.core.definitions import Position, ServiceDefinition
from chowk.core.records.service import KIND_CONNECT_PROXY, Upstream

META_PAIRS_MAX = 64
META_KEY_CHARS_MAX = 128
META_VALUE_CHARS_MAX = 512
NAME_CHARS_MAX = 255
LABEL_CHARS_MAX = 63

_META_KEY = re.compile(r"[A-Za-z0-9_-]+")
_DNS_NAME = re.compile(r"[A-Za-z0-9-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LOOPBACK = "127.0.0.1"
PREPARED_QUERY = "prepared_query"


def service_problems(decoded: Decoded, service: ServiceDefinition, problems: Problems) -> None:
    """Note what is wrong with a service of its own (`sidecar_problems` sees to the one inside it)."""
    path = decoded.path or "service"
    if not service.name:
        request = not decoded.position.file
        problems.add(decoded.position, "Missing service name" if request else f"{path}: name is missing")
    elif not service.name.strip() or service.name == "*":
        problems.add(decoded.at("name"), f'{path}.name: "{service.name}" cannot be the name of a service')
    elif _DNS_NAME.fullmatch(service.name) is None or len(service.name) > LABEL_CHARS_MAX:
        problems.warn(
            decoded.at("name"),
            f'service "{service.name}" will not be found through DNS: '
            "a name there has at most 63 letters, digits and dashes",
        )
    _common_problems(decoded, service, problems, path)
    _kind_problems(decoded, service, problems, path)
    connect: Decoded | None = decoded.get("connect")
    if connect is not None:
        _connect_problems(connect, service, problems)


def _common_problems(decoded: Decoded, service: ServiceDefinition, problems: Problems, path: str) -> None:
    for name, text in (("name", service.name), ("id", service.id)):
        if len(text) > NAME_CHARS_MAX or _CONTROL.search(text) or text != text.strip():
            problems.add(
                decoded.at(name),
                f"{path}.{name}: at most {NAME_CHARS_MAX} characters, no control characters, no blanks at the ends",
            )
    if _is_unspecified(service.address):
        problems.add(decoded.at("address"), f"{path}.address: {service.address} is no address that clients could dial")
    if service.socket_path and (service.port or service.address):
        problems.add(decoded.at("socket_path"), f"{path}: give socket_path, or address and port, not both")
    meta_problems(service.meta, decoded.at("meta"), problems, f"{path}.meta")
    for name, one in decoded.get("tagged_addresses", {}).items():
        if not one.get("address"):
            problems.add(one.position, f"{path}.tagged_addresses.{name}: address is missing")


def _is_unspecified(address: str) -> bool:
    try:
        return ip_address(address.strip("[]")).is_unspecified
    except ValueError:
        return False  # a host name


def meta_problems(meta: dict[str, str], position: Position, problems: Problems, path: str) -> None:
    """Consul's limits on the meta of services and nodes."""
    if len(meta) > META_PAIRS_MAX:
        problems.add(position, f"{path}: at most {META_PAIRS_MAX} pairs, found {len(meta)}")
    for key, value in list(meta.items())[: META_PAIRS_MAX + 1]:
        if _META_KEY.fullmatch(key) is None:
            problems.add(position, f'{path}: the key "{key[:40]}" may hold letters, digits, - and _ only')
        if len(key) > META_KEY_CHARS_MAX:
            problems.add(position, f'{path}: the key "{key[:20]}..." is longer than {META_KEY_CHARS_MAX} characters')
        if len(value) > META_VALUE_CHARS_MAX:
            problems.add(
                position, f'{path}: the value of "{key[:40]}" is longer than {META_VALUE_CHARS_MAX} characters'
            )
        if key.startswith("consul-"):
            problems.add(position, f'{path}: the key "{key[:40]}" is reserved: the prefix consul- is for internal use')


def _kind_problems(decoded: Decoded, service: ServiceDefinition, problems: Problems, path: str) -> None:
    proxy: Decoded | None = decoded.get("proxy")
    if service.kind not in ("", KIND_CONNECT_PROXY):
        problems.add(decoded.at("kind"), f"{path}.kind: gateways ({service.kind}) are not supported yet")
    elif service.kind == KIND_CONNECT_PROXY:
        if service.proxy is None or not service.proxy.destination_service_name:
            problems.add(decoded.at("proxy"), f"{path}.proxy: a connect-proxy needs destination_service_name")
        elif service.proxy.destination_service_name == "*":
            problems.add(decoded.at("proxy"), f"{path}.proxy.destination_service_name: * is no service")
        if not service.port and not service.socket_path:
            problems.add(decoded.position, f"{path}: a connect-proxy needs a port or a socket_path")
        if service.connect is not None and (service.connect.native or service.connect.sidecar_service):
            problems.add(decoded.at("connect"), f"{path}.connect: a proxy has neither a sidecar nor native mTLS")
    elif proxy is not None and proxy.position.file:
        problems.warn(
            proxy.position,
            f"{path}.proxy has no effect on a service that is no connect-proxy; "
            "write it inside connect { sidecar_service { … } }",
        )
    if proxy is not None and service.proxy is not None:
        _proxy_problems(proxy, service.proxy.upstreams, problems)


def _connect_problems(connect: Decoded, service: ServiceDefinition, problems: Problems) -> None:
    if "proxy" in connect:
        problems.add(
            connect.at("proxy"),
            f"{connect.path}.proxy is the managed proxy that Consul dropped in 1.3; use sidecar_service {{ proxy {{ … }} }}",
        )
    sidecar: Decoded | None = connect.get("sidecar_service")
    if sidecar is None or service.connect is None or service.connect.sidecar_service is None:
        return
    definition = service.connect.sidecar_service
    if connect.get("native"):
        problems.add(connect.at("native"), f"{connect.path}: a service is native or has a sidecar_service, not both")
    if sidecar.get("connect"):
        problems.add(sidecar.at("connect"), f"{sidecar.path}.connect: a sidecar has no sidecar of its own")
    if definition.kind not in ("", KIND_CONNECT_PROXY):
        problems.add(sidecar.at("kind"), f"{sidecar.path}.kind: a sidecar is a connect-proxy")
    if definition.id and definition.id == (service.id or service.name):
        problems.add(sidecar.at("id"), f'{sidecar.path}.id: "{definition.id}" is the id of the service itself')
    _common_problems(sidecar, definition, problems, sidecar.path)
    proxy: Decoded | None = sidecar.get("proxy")
    if proxy is not None and definition.proxy is not None:
        _proxy_problems(proxy, definition.proxy.upstreams, problems)


def _proxy_problems(proxy: Decoded, upstreams: tuple[Upstream, ...], problems: Problems) -> None:
    if proxy.get("mode") == "transparent":
        problems.warn(proxy.at("mode"), f"{proxy.path}.mode: transparent is not served yet; only local ports are bound")
    taken: dict[str, Position] = {}
    for decoded in proxy.get("upstreams", ()):
        if not is_served(decoded):
            key, what = _unserved(decoded)
            problems.warn(
                decoded.at(key),
                f"{decoded.path}.{key}: {what} are not supported yet, and nothing listens for "
                f'"{decoded.get("destination_name", "")}" on port {decoded.get("local_bind_port", 0)}',
            )
    for decoded, upstream in zip(filter(is_served, proxy.get("upstreams", ())), upstreams, strict=True):
        _upstream_problems(decoded, upstream, problems)
        listener = listener_of(upstream)
        if listener and listener in taken:
            problems.add(
                decoded.at("local_bind_port"),
                f"{decoded.path}: {listener} is bound by another upstream, at {taken[listener]}",
            )
        taken.setdefault(listener, decoded.position)


def _upstream_problems(decoded: Decoded, upstream: Upstream, problems: Problems) -> None:
    path = decoded.path
    if not upstream.destination_name:
        problems.add(decoded.position, f"{path}: destination_name is missing")
    elif upstream.destination_name == "*":
        problems.add(decoded.at("destination_name"), f"{path}.destination_name: * is no service to dial")
    key, what = _unserved(decoded)
    if what:
        problems.add(decoded.at(key), f"{path}.{key}: {what} are not supported yet")
    if not upstream.local_bind_port and not upstream.local_bind_socket_path:
        problems.add(decoded.position, f"{path}: local_bind_port (or local_bind_socket_path) is missing")
    if upstream.local_bind_socket_path and (upstream.local_bind_port or upstream.local_bind_address):
        problems.add(decoded.position, f"{path}: give local_bind_socket_path, or an address and port, not both")


def is_served(upstream: Decoded) -> bool:
    """Does a sidecar listen for it? A file may name more than there is, which then has no effect; a request is refused."""
    return not (upstream.position.file and _unserved(upstream)[1])


def _unserved(upstream: Decoded) -> tuple[str, str]:
    """The key that asks for what is not there, and what that is; "" when there is none."""
    if upstream.get("destination_type") == PREPARED_QUERY:
        return "destination_type", "upstreams of prepared queries"
    return "destination_peer", "upstreams of peers" if upstream.get("destination_peer") else ""


def listener_of(upstream: Upstream) -> str:
    """Where an upstream is dialled: `host:port` or the path of a socket; "" when neither was given."""
    if upstream.local_bind_socket_path:
        return upstream.local_bind_socket_path
    if not upstream.local_bind_port:
        return ""
    return f"{upstream.local_bind_address or LOOPBACK}:{upstream.local_bind_port}"
