"""Catalog: registrations in, nodes and services out."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address

import msgspec

from chowk.core.commands import Deregister, Register
from chowk.core.errors import InvalidRequest
from chowk.core.records.check import HealthCheck
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.core.requests import (
    CATALOG_ADDRESS,
    CATALOG_DATACENTERS,
    CATALOG_NODE_SERVICES,
    CATALOG_NODES,
    CATALOG_SERVICES,
    CATALOG_WRITE,
    AddressQuery,
    AddressReply,
    DatacentersReply,
    Empty,
    NodeServicesReply,
    NodesReply,
    Read,
    ServicesQuery,
    ServicesReply,
    Write,
    WriteReply,
)  # fmt: skip
from chowk.server.rpc.context import ServerContext
from chowk.server.rpc.registration import check_deregistration, checked_registration
from chowk.server.state import queries
from chowk.server.state.changed import ALL_NODES, ALL_SERVICES, ANY_INSTANCE
from chowk.server.state.coordinates import nearest_first
from chowk.server.state.store import Store


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.leader.serve(CATALOG_WRITE, partial(_write, context))
    context.gate.serve(CATALOG_DATACENTERS, partial(_datacenters, context))
    context.gate.serve(CATALOG_NODES, partial(_nodes, context))
    context.gate.serve(CATALOG_SERVICES, partial(_services, context))
    context.gate.serve(CATALOG_NODE_SERVICES, partial(_node_services, context))
    context.gate.serve(CATALOG_ADDRESS, partial(_address, context))


async def _write(context: ServerContext, write: Write) -> WriteReply:
    context.reads.check_datacenter(write.datacenter)
    context.writes.admit(write, (Register, Deregister), CATALOG_WRITE.name)
    command = write.command
    if isinstance(command, Register):
        command = checked_registration(context.machine.store, command, context.options.datacenter)
    elif isinstance(command, Deregister):
        check_deregistration(command)
    return await context.writes.propose(command, write.client, write.sequence)


async def _datacenters(context: ServerContext, _request: Empty) -> DatacentersReply:
    return DatacentersReply(datacenters=(context.options.datacenter,))


async def _nodes(context: ServerContext, request: Read) -> NodesReply:
    near = request.options.near
    meta, found = await context.reads.run(
        request.options,
        (ALL_NODES,),
        lambda store: nearest_first(store, near, queries.nodes(store), lambda node: node.node),
    )
    return NodesReply(meta=meta, nodes=found)


async def _services(context: ServerContext, request: ServicesQuery) -> ServicesReply:
    wanted = request.node_meta
    if wanted:
        meta, found = await context.reads.run(
            request.options, (ANY_INSTANCE,), lambda store: queries.summaries_on(store, wanted)
        )
    else:
        meta, found = await context.reads.run(request.options, (ALL_SERVICES,), queries.summaries)
    return ServicesReply(meta=meta, services=found)


class _NodeView(msgspec.Struct, frozen=True):
    node: Node | None
    services: tuple[NodeService, ...]
    checks: tuple[HealthCheck, ...]


async def _node_services(context: ServerContext, request: Read) -> NodeServicesReply:
    name = request.name
    if not name:
        raise InvalidRequest("Missing node name")

    def read(store: Store) -> _NodeView:
        return _NodeView(queries.node(store, name), queries.services_of(store, name), queries.checks_of(store, name))

    meta, view = await context.reads.run(request.options, (queries.node_topic(name),), read)
    return NodeServicesReply(meta=meta, node=view.node, services=view.services, checks=view.checks)


async def _address(context: ServerContext, query: AddressQuery) -> AddressReply:
    try:
        address = str(ip_address(query.address))
    except ValueError as error:
        raise InvalidRequest(f"not an IP address: {query.address!r}") from error
    meta, (nodes, instances) = await context.reads.run(
        query.options, (ANY_INSTANCE,), lambda store: queries.at_address(store, address)
    )
    return AddressReply(meta=meta, nodes=nodes, instances=instances)
