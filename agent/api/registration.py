"""`PUT /v1/catalog/register` and `deregister`: the catalog written by hand, for nodes that run no agent."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec
from aiohttp import web

from chowk.agent.api.errors import bad_request
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.writes import write
from chowk.core.commands import Deregister, Register
from chowk.core.errors import NoPathToDatacenter
from chowk.core.records.base import Record
from chowk.core.records.check import CRITICAL, STATUSES, HealthCheck
from chowk.core.records.node import Node
from chowk.core.records.service import ConnectProxy, Locality, NodeService, ServiceAddress, ServiceConnect, Weights
from chowk.core.requests import CATALOG_WRITE

PORT_MAX: Final = 65535


class Scoped(Record, frozen=True, kw_only=True):
    """What clients send beside: indexes, and scopes that must be the default ones."""

    namespace: str = ""
    partition: str = ""
    peer_name: str = ""
    create_index: int = 0
    modify_index: int = 0


class ServiceBody(Scoped, frozen=True, kw_only=True):
    """`Service` of a registration; an ID of "" means the name."""

    kind: str = ""
    id: str = ""
    service: str = ""
    tags: tuple[str, ...] = ()
    address: str = ""
    tagged_addresses: dict[str, ServiceAddress] = msgspec.field(default_factory=dict)
    meta: dict[str, str] = msgspec.field(default_factory=dict)
    port: int = 0
    socket_path: str = ""
    weights: Weights = Weights()
    enable_tag_override: bool = False
    proxy: ConnectProxy = ConnectProxy()
    connect: ServiceConnect = ServiceConnect()
    locality: Locality | None = None
    content_hash: str = ""
    datacenter: str = ""


class CheckBody(Scoped, frozen=True, kw_only=True):
    """One check of a registration; a CheckID of "" means the name."""

    node: str = ""
    check_id: str = ""
    name: str = ""
    status: str = CRITICAL
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: tuple[str, ...] = ()
    type: str = ""
    interval: str = ""
    timeout: str = ""
    exposed_port: int = 0
    definition: dict[str, Any] = msgspec.field(default_factory=dict)


class RegisterBody(Scoped, frozen=True, kw_only=True):
    """The body of `register`. `WriteRequest` holds the token of older clients; theirs is read once ACLs exist."""

    datacenter: str = ""
    id: str = ""
    node: str = ""
    address: str = ""
    tagged_addresses: dict[str, str] = msgspec.field(default_factory=dict)
    node_meta: dict[str, str] = msgspec.field(default_factory=dict)
    service: ServiceBody | None = None
    check: CheckBody | None = None
    checks: tuple[CheckBody, ...] = ()
    skip_node_update: bool = False
    locality: Locality | None = None
    write_request: dict[str, Any] = msgspec.field(default_factory=dict)


class DeregisterBody(Scoped, frozen=True, kw_only=True):
    """The body of `deregister`: a check, else a service, else the node."""

    datacenter: str = ""
    node: str = ""
    address: str = ""
    service_id: str = ""
    check_id: str = ""
    write_request: dict[str, Any] = msgspec.field(default_factory=dict)


async def register(request: ApiRequest) -> web.Response:
    """Write a node, a service of it and checks."""
    command = register_command(await request.json_as(RegisterBody), request.context.config().datacenter)
    await write(request, CATALOG_WRITE, command)
    return json_reply(request, True)


async def deregister(request: ApiRequest) -> web.Response:
    """Remove a check, a service or a node; what is not there is no error."""
    body = await request.json_as(DeregisterBody)
    if not body.node:
        raise bad_request("Must provide node")
    refuse_scope(body, body.datacenter, request.context.config().datacenter)
    command = Deregister(node=body.node, service_id=body.service_id, check_id=body.check_id)
    await write(request, CATALOG_WRITE, command)
    return json_reply(request, True)


def register_command(body: RegisterBody, datacenter: str) -> Register:
    """The command that a body asks for. HttpError 400 in Consul's words when it cannot be one."""
    refuse_scope(body, body.datacenter, datacenter)
    if not body.node:
        raise bad_request("Must provide node")
    if not body.address and not body.skip_node_update:
        raise bad_request("Must provide address if SkipNodeUpdate is not set")
    if body.id and not _is_uuid(body.id):
        raise bad_request(f'Bad node ID: "{body.id[:64]}" is not a UUID')
    node = Node(
        id=body.id.lower(),
        node=body.node,
        address=body.address,
        datacenter=datacenter,
        tagged_addresses=body.tagged_addresses,
        meta=body.node_meta,
    )
    service = None if body.service is None else _service(body.service, datacenter)
    checks = (*body.checks, *([body.check] if body.check is not None else []))
    return Register(
        node=node,
        service=service,
        checks=tuple(_check(check, node, service, datacenter) for check in checks),
        skip_node_update=body.skip_node_update,
    )


def _service(body: ServiceBody, datacenter: str) -> NodeService:
    refuse_scope(body, body.datacenter, datacenter)
    if not body.service:
        raise bad_request("Must provide service name (Service.Service) with ID" if body.id else "Missing service name")
    if not 0 <= body.port <= PORT_MAX:
        raise bad_request(f"Invalid port {body.port}: it must be between 0 and {PORT_MAX}")
    return service_record(body)


def service_record(body: ServiceBody) -> NodeService:
    """What a body says, unchecked."""
    return NodeService(
        kind=body.kind,
        id=body.id or body.service,
        service=body.service,
        tags=body.tags,
        address=body.address,
        tagged_addresses=body.tagged_addresses,
        meta=body.meta,
        port=body.port,
        socket_path=body.socket_path,
        weights=body.weights,
        enable_tag_override=body.enable_tag_override,
        proxy=body.proxy,
        connect=body.connect,
        locality=body.locality,
    )


def _check(body: CheckBody, node: Node, service: NodeService | None, datacenter: str) -> HealthCheck:
    refuse_scope(body, "", datacenter)
    if body.node and body.node.lower() != node.node.lower():
        raise bad_request(f'check node "{body.node}" does not match node "{node.node}"')
    if not body.check_id and not body.name:
        raise bad_request("Must provide a CheckID or a Name with a check")
    if body.status not in STATUSES:
        raise bad_request(f'Invalid check status "{body.status[:64]}": use one of {", ".join(STATUSES)}')
    of_service = service if service is not None and body.service_id == service.id else None
    return check_record(body, node.node, of_service)


def check_record(body: CheckBody, node: str, of_service: NodeService | None = None) -> HealthCheck:
    """What a body says, unchecked; it lacks of its service what stands in that."""
    return HealthCheck(
        node=node,
        check_id=body.check_id or body.name,
        name=body.name or body.check_id,
        status=body.status,
        notes=body.notes,
        output=body.output,
        service_id=body.service_id,
        service_name=body.service_name or (of_service.service if of_service else ""),
        service_tags=body.service_tags or (of_service.tags if of_service else ()),
        type=body.type,
        interval=body.interval,
        timeout=body.timeout,
        exposed_port=body.exposed_port,
        definition=body.definition,
    )


def refuse_scope(body: Scoped, asked: str, datacenter: str) -> None:
    """Refuse another namespace, partition or peer, and with `asked` another datacenter."""
    for value, name in ((body.namespace, "Namespaces"), (body.partition, "Admin partitions")):
        if value not in ("", "default"):
            raise bad_request(f"{name} are not supported")
    if body.peer_name:
        raise bad_request("Cluster peering is not supported")
    if asked and asked.lower() != datacenter.lower():
        raise NoPathToDatacenter


def _is_uuid(text: str) -> bool:
    try:
        return len(text) == 36 and str(UUID(text)) == text.lower()
    except ValueError:
        return False


ROUTES: Final = (
    Route(("PUT",), "/v1/catalog/register", register, "node:write"),
    Route(("PUT",), "/v1/catalog/deregister", deregister, "node:write"),
)
