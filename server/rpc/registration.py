"""Checks a registration before it is proposed, and completes it as Consul does. Pure; called by `server.rpc.catalog`,
and by `server.rpc.txn` for the parts that stand alone."""

from __future__ import annotations

from uuid import UUID

import msgspec

from chowk.connect.entries.defaults import check_free
from chowk.core.commands import Deregister, Register
from chowk.core.errors import InvalidRequest
from chowk.core.records.check import CRITICAL, SERF_HEALTH_ID, STATUSES, HealthCheck
from chowk.core.records.node import Node
from chowk.core.records.service import KIND_CONNECT_PROXY, KIND_TYPICAL, ConnectProxy, NodeService, Upstream
from chowk.server.rpc import limits
from chowk.server.state.store import Store


def checked_registration(store: Store, command: Register, datacenter: str) -> Register:
    """The registration as it will be applied. InvalidRequest with the reason when it may not be."""
    if not command.node.node:
        raise InvalidRequest("Must provide node")
    key = command.node.node.lower()
    if not command.node.address and not command.skip_node_update:
        raise InvalidRequest("Must provide address if SkipNodeUpdate is not set")
    if not command.node.address and key not in store.nodes:
        raise InvalidRequest("Missing node registration")
    if not command.skip_node_update or key not in store.nodes:
        check_node(store, command.node)
    service = checked_service(command.service) if command.service is not None else None
    if len(command.checks) > limits.CHECKS_MAX:
        raise InvalidRequest(f"a registration takes at most {limits.CHECKS_MAX} checks")
    checks = tuple(checked_check(store, check, command.node.node) for check in command.checks)
    for check in checks:
        of_this = service is not None and service.id == check.service_id
        if check.service_id and not of_this and (key, check.service_id) not in store.services:
            raise InvalidRequest(
                f'Missing service registration: check "{check.check_id}" is of service "{check.service_id}"'
            )
    node = msgspec.structs.replace(command.node, datacenter=datacenter, create_index=0, modify_index=0)
    return msgspec.structs.replace(command, node=node, service=service, checks=checks)


def check_deregistration(command: Deregister) -> None:
    """InvalidRequest when it names nothing."""
    if not command.node:
        raise InvalidRequest("Must provide node")


def check_node(store: Store, node: Node) -> None:
    """InvalidRequest when the node may not be written, or its name is another's that lives."""
    limits.check_node_name(node.node)
    limits.check_address(node.address, "node address")
    limits.check_meta(node.meta, "Node")
    for name, address in node.tagged_addresses.items():
        limits.check_name(name, "Tagged address name")
        limits.check_address(address, f'tagged address "{name}"')
    if not node.id:
        return
    try:
        UUID(node.id)
    except ValueError as error:
        raise InvalidRequest(f"Bad node ID: {node.id!r} is not a UUID") from error
    owner = store.nodes.get(node.node.lower())
    if owner is not None and owner.id not in ("", node.id) and _alive(store, node.node.lower()):
        raise InvalidRequest(
            f"Node name {node.node} is reserved by node {owner.id} with name {owner.node} ({owner.address}):"
            " give this node another node_name, or deregister the other one first"
        )


def _alive(store: Store, key: str) -> bool:
    serf = store.checks.get((key, SERF_HEALTH_ID))
    return serf is not None and serf.status != CRITICAL


def checked_service(service: NodeService) -> NodeService:
    """The service as it will be applied. InvalidRequest with the reason when it may not be."""
    if not service.service:
        raise InvalidRequest("Must provide service name (Service.Service) when service ID is provided")
    service = msgspec.structs.replace(service, id=service.id or service.service, create_index=0, modify_index=0)
    limits.check_name(service.service, "Service name")
    limits.check_name(service.id, "Service ID", chars_max=2 * limits.NAME_CHARS_MAX)
    limits.check_meta(service.meta, "Service")
    limits.check_address(service.address, "service address")
    limits.check_port(service.port, "service port")
    limits.check_text(service.socket_path, "Service socket path")
    if service.port and service.socket_path:
        raise InvalidRequest("Service port and socket path are mutually exclusive: set one of them")
    if len(service.tags) > limits.TAGS_MAX:
        raise InvalidRequest(f"Service cannot have more than {limits.TAGS_MAX} tags")
    for tag in service.tags:
        limits.check_text(tag, "Service tag")
    for name, tagged in service.tagged_addresses.items():
        limits.check_name(name, "Tagged address name")
        limits.check_address(tagged.address, f'tagged address "{name}"')
        limits.check_port(tagged.port, f'port of tagged address "{name}"')
    _check_weights(service)
    if service.kind not in (KIND_TYPICAL, KIND_CONNECT_PROXY):
        raise InvalidRequest(f'Service kind "{service.kind}" is not supported: use connect-proxy, or leave it out')
    if service.kind == KIND_CONNECT_PROXY:
        _check_proxy(service)
    elif service.proxy != ConnectProxy():
        raise InvalidRequest(f'Service "{service.service}" has a Proxy block: its kind must be connect-proxy')
    return service


def _check_weights(service: NodeService) -> None:
    weights = service.weights
    if not 1 <= weights.passing <= limits.WEIGHT_MAX:
        raise InvalidRequest(f"Weights: Passing must be between 1 and {limits.WEIGHT_MAX}")
    if not 0 <= weights.warning <= limits.WEIGHT_MAX:
        raise InvalidRequest(f"Weights: Warning must be between 0 and {limits.WEIGHT_MAX}")


def _check_proxy(service: NodeService) -> None:
    proxy = service.proxy
    if not proxy.destination_service_name:
        raise InvalidRequest("Proxy.DestinationServiceName must be non-empty for Connect proxy services")
    limits.check_name(proxy.destination_service_name, "Proxy.DestinationServiceName")
    if proxy.destination_service_name == "*":
        raise InvalidRequest("Proxy.DestinationServiceName must not be a wildcard for Connect proxy services")
    if not service.port and not service.socket_path:
        raise InvalidRequest("Port or SocketPath must be set for a Connect proxy")
    if service.connect.native:
        raise InvalidRequest("A Proxy cannot also be Connect Native, only typical services")
    limits.check_port(proxy.local_service_port, "Proxy.LocalServicePort")
    check_free(proxy.config, "Proxy.Config")
    if len(proxy.upstreams) > limits.UPSTREAMS_MAX:
        raise InvalidRequest(f"a proxy takes at most {limits.UPSTREAMS_MAX} upstreams")
    taken: dict[tuple[str, int] | str, str] = {}
    for upstream in proxy.upstreams:
        _check_upstream(upstream)
        place = upstream.local_bind_socket_path or (
            upstream.local_bind_address or "127.0.0.1",
            upstream.local_bind_port,
        )
        other = taken.setdefault(place, upstream.destination_name)
        if other != upstream.destination_name or list(proxy.upstreams).count(upstream) > 1:
            raise InvalidRequest(
                f"upstreams cannot contain duplicates of local bind address and port, or of local socket path:"
                f" {other} and {upstream.destination_name} both bind {_place_text(place)}"
            )


def _check_upstream(upstream: Upstream) -> None:
    name = upstream.destination_name
    if not name:
        raise InvalidRequest("upstream destination name cannot be empty")
    limits.check_name(name, "upstream destination name")
    if name == "*":
        raise InvalidRequest("upstream destination name cannot be a wildcard")
    check_free(upstream.config, f"Config of upstream {name}")
    limits.check_port(upstream.local_bind_port, f"local bind port of upstream {name}")
    limits.check_text(upstream.local_bind_socket_path, f"local socket path of upstream {name}")
    if not upstream.local_bind_port and not upstream.local_bind_socket_path:
        raise InvalidRequest(f"upstream {name}: local bind port or local socket path must be defined and nonzero")
    if upstream.local_bind_port and upstream.local_bind_socket_path:
        raise InvalidRequest(f"upstream {name}: only one of local bind port and local socket path may be set")


def _place_text(place: tuple[str, int] | str) -> str:
    return place if isinstance(place, str) else f"{place[0]}:{place[1]}"


def checked_check(store: Store, check: HealthCheck, node: str) -> HealthCheck:
    """The check as it will be applied; whether its service exists is not looked at. InvalidRequest when it may not be."""
    check_id = check.check_id or check.name
    if not check_id:
        raise InvalidRequest("Must provide check ID or name")
    limits.check_name(check_id, "Check ID", chars_max=2 * limits.TEXT_CHARS_MAX)
    if check.node and check.node.lower() != node.lower():
        raise InvalidRequest(f'check "{check_id}" is of node "{check.node}", but the registration is of node "{node}"')
    status = check.status or CRITICAL
    if status not in STATUSES:
        raise InvalidRequest(f'Invalid check status "{status}": must be passing, warning or critical')
    limits.check_text(check.name, "Check name")
    if len(check.output) > limits.OUTPUT_CHARS_MAX:
        raise InvalidRequest(
            f"the output of check {check_id} is too long (limit: {limits.OUTPUT_CHARS_MAX} characters)"
        )
    siblings = store.checks_of_service.get((node.lower(), check.service_id), {})
    if len(siblings) >= limits.CHECKS_MAX and (node.lower(), check_id) not in siblings:
        raise InvalidRequest(f"a service, and a node by itself, takes at most {limits.CHECKS_MAX} checks")
    check_free(check.definition, f"Definition of check {check_id}")
    return msgspec.structs.replace(check, node=node, check_id=check_id, status=status, create_index=0, modify_index=0)
