"""Services and checks as people write them, to `ServiceDefinition` and `CheckDefinition`.

Called by `build` with trees of files, and by `agent.api` with the plain bodies of requests: one reader, the same rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from chowk.agent.config.check_rules import check_problems
from chowk.agent.config.decode import Decoded, Reading, decode
from chowk.agent.config.keys_service import CHECK, SERVICE
from chowk.agent.config.problems import Problems
from chowk.agent.config.service_rules import is_served, service_problems
from chowk.agent.config.tree import Node, from_plain
from chowk.core.definitions import CheckDefinition, ConnectDefinition, ServiceDefinition
from chowk.core.records.service import (
    ConnectProxy,
    Expose,
    ExposePath,
    Locality,
    MeshGateway,
    ServiceAddress,
    Upstream,
    Weights,
)

T = TypeVar("T")
DEREGISTER_AFTER_MIN_S = 60.0
TIMEOUT_S = 10.0
SCRIPT_TIMEOUT_S = 30.0

_SAME = {
    name: name
    for name in (
        "kind", "id", "name", "tags", "address", "port", "socket_path", "meta", "enable_tag_override", "token",
        "notes", "service_id", "status", "args", "http", "header", "method", "body", "disable_redirects", "tcp",
        "tcp_use_tls", "udp", "grpc", "grpc_use_tls", "h2ping", "h2ping_use_tls", "os_service", "docker_container_id",
        "shell", "alias_node", "alias_service", "tls_server_name", "tls_skip_verify", "output_max_size",
        "success_before_passing", "failures_before_warning", "failures_before_critical",
    )
}  # fmt: skip
_CHECK_FIELDS = {name: key for name, key in _SAME.items() if name in CheckDefinition.__struct_fields__}
_SERVICE_FIELDS = {name: key for name, key in _SAME.items() if name in ServiceDefinition.__struct_fields__}


def decode_service(
    source: Node | dict[str, Any], problems: Problems | None = None, *, path: str = ""
) -> ServiceDefinition:
    """The service written in `source`: a tree of a file, or the plain body of a request.

    Without `problems` all that is wrong is raised as one ConfigError; with it, problems and warnings are noted there and
    a definition is returned that must not be used when there are any.
    """
    return _checked(source, problems, path, _service_of)


def decode_check(source: Node | dict[str, Any], problems: Problems | None = None, *, path: str = "") -> CheckDefinition:
    """The check written in `source`; as `decode_service`. A check that stands alone needs a name or an id."""
    return _checked(source, problems, path, _check_alone)


def _checked(source: Any, problems: Problems | None, path: str, make: Callable[[Node, Reading, str], T]) -> T:
    noted = problems if problems is not None else Problems()
    request = not isinstance(source, Node)
    result = make(from_plain(source) if request else source, Reading(noted, request=request), path)
    if problems is None:
        noted.raise_if_any()
    return result


def _service_of(tree: Node, reading: Reading, path: str) -> ServiceDefinition:
    decoded = decode(tree, SERVICE, reading, path)
    service = build_service(decoded, reading)
    service_problems(decoded, service, reading.problems)
    return service


def _check_alone(tree: Node, reading: Reading, path: str) -> CheckDefinition:
    decoded = decode(tree, CHECK, reading, path)
    check = build_check(decoded, reading)
    if not check.name and not check.id:
        reading.problems.add(decoded.position, f"{path or 'check'}: a check needs a name")
    return check


def build_check(decoded: Decoded, reading: Reading) -> CheckDefinition:
    """The definition of one decoded `check` block, its defaults filled in; what is wrong with it is noted."""
    check_problems(decoded, reading.problems)
    durations = decoded.pick(ttl_s="ttl", interval_s="interval", timeout_s="timeout")
    after_s = decoded.get("deregister_critical_service_after", 0.0)
    if 0 < after_s < DEREGISTER_AFTER_MIN_S:
        where = decoded.at("deregister_critical_service_after")
        reading.problems.warn(where, "deregister_critical_service_after is less than 1m; 1m is used")
        after_s = DEREGISTER_AFTER_MIN_S
    if not durations.get("timeout_s"):
        durations["timeout_s"] = SCRIPT_TIMEOUT_S if decoded.get("args") else TIMEOUT_S
    return CheckDefinition(
        **decoded.pick(**_CHECK_FIELDS),
        **durations,
        deregister_critical_service_after_s=after_s,
        position=decoded.position,
    )


def build_service(decoded: Decoded, reading: Reading) -> ServiceDefinition:
    """The definition of one decoded `service` or `sidecar_service` block."""
    fields = decoded.pick(**_SERVICE_FIELDS)
    if fields.get("kind") == "typical":
        fields["kind"] = ""
    checks = [*decoded.get("check", ()), *decoded.get("checks", ())]
    addresses = decoded.get("tagged_addresses", {})
    return ServiceDefinition(
        **fields,
        tagged_addresses={
            name: ServiceAddress(address=one.get("address", ""), port=one.get("port", 0))
            for name, one in addresses.items()
        },
        weights=Weights(**_block(decoded, "weights", "passing", "warning")),
        checks=tuple(build_check(check, reading) for check in checks),
        proxy=_proxy(decoded.get("proxy")),
        connect=_connect(decoded.get("connect"), reading),
        locality=build_locality(decoded),
        launch=decoded.get("launch"),
        position=decoded.position,
    )


def build_locality(decoded: Decoded) -> Locality | None:
    """Its `locality` block, of a service or of the agent; None when there is none."""
    return Locality(**_block(decoded, "locality", "region", "zone")) if "locality" in decoded else None


def _connect(decoded: Any, reading: Reading) -> ConnectDefinition | None:
    if not isinstance(decoded, Decoded):  # a sidecar's own `connect` is not decoded, but refused
        return None
    sidecar = decoded.get("sidecar_service")
    return ConnectDefinition(
        native=decoded.get("native", False),
        sidecar_service=None if sidecar is None else build_service(sidecar, reading),
    )


def _proxy(decoded: Decoded | None) -> ConnectProxy | None:
    if decoded is None:
        return None
    names = (
        "destination_service_name", "destination_service_id", "local_service_address", "local_service_port",
        "local_service_socket_path", "mode", "config",
    )  # fmt: skip
    return ConnectProxy(
        **decoded.pick(**{name: name for name in names}),
        upstreams=tuple(map(_upstream, filter(is_served, decoded.get("upstreams", ())))),
        mesh_gateway=MeshGateway(**_block(decoded, "mesh_gateway", "mode")),
        expose=build_expose(decoded.get("expose")),
    )


def _upstream(decoded: Decoded) -> Upstream:
    names = (
        "datacenter", "local_bind_address", "local_bind_port", "local_bind_socket_path", "local_bind_socket_mode",
        "config",
    )  # fmt: skip
    return Upstream(
        destination_name=decoded.get("destination_name", ""),
        destination_type=decoded.get("destination_type") or "service",
        **decoded.pick(**{name: name for name in names}),
        mesh_gateway=MeshGateway(**_block(decoded, "mesh_gateway", "mode")),
    )


def build_expose(decoded: Decoded | None) -> Expose:
    """The `expose` of a proxy, or of a config entry."""
    if decoded is None:
        return Expose()
    names = ("path", "listener_port", "local_path_port", "protocol")
    paths = (ExposePath(**path.pick(**{name: name for name in names})) for path in decoded.get("paths", ()))
    return Expose(checks=decoded.get("checks", False), paths=tuple(paths))


def _block(decoded: Decoded, name: str, *fields: str) -> dict[str, Any]:
    block: Decoded | None = decoded.get(name)
    return {} if block is None else block.pick(**{field: field for field in fields})
