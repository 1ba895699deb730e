"""Health: instances with their checks, and checks by node, service or state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chowk.core.errors import InvalidRequest
from chowk.core.events import Topic
from chowk.core.records.check import STATUSES, HealthCheck
from chowk.core.records.node import Node
from chowk.core.requests import (
    HEALTH_INSTANCES,
    HEALTH_NODE_CHECKS,
    HEALTH_SERVICE_CHECKS,
    HEALTH_STATE_CHECKS,
    ChecksReply,
    InstancesQuery,
    InstancesReply,
    Read,
)  # fmt: skip
from chowk.server.rpc.context import ServerContext
from chowk.server.rpc.packed import PackedInstances
from chowk.server.state import queries
from chowk.server.state.changed import ANY_CHECK
from chowk.server.state.coordinates import nearest_first
from chowk.server.state.store import Store


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.gate.serve(HEALTH_INSTANCES, partial(_instances, context, PackedInstances()))
    context.gate.serve(HEALTH_NODE_CHECKS, partial(_node_checks, context))
    context.gate.serve(HEALTH_SERVICE_CHECKS, partial(_service_checks, context))
    context.gate.serve(HEALTH_STATE_CHECKS, partial(_state_checks, context))


async def _instances(context: ServerContext, packed: PackedInstances, query: InstancesQuery) -> InstancesReply:
    """As for everybody; but who knows the answer of this index is only told that it still is the answer."""
    if not query.name:
        raise InvalidRequest("Missing service name")
    topic = queries.health_topic(query.name, connect=query.connect)
    meta, store = await context.reads.run(query.options, (topic,), lambda store: store)
    history = store.cluster_id
    order: tuple[int, ...] = ()
    if query.options.near:  # an order that changes while the index does not
        rows = queries.instances(store, query.name, connect=query.connect)
        if not query.by_order:
            near = nearest_first(store, query.options.near, rows, lambda instance: instance.node.node)
            return InstancesReply(meta=meta, instances=near)
        order = nearest_first(store, query.options.near, tuple(range(len(rows))), lambda place: rows[place].node.node)
    if history and (query.known_history, query.known_index) == (history, meta.index):
        return InstancesReply(meta=meta, instances=(), history=history, unchanged=True, order=order)
    found = packed.get(store, query.name, meta.index, connect=query.connect)
    return InstancesReply(meta=meta, instances=found, history=history, order=order)


async def _node_checks(context: ServerContext, request: Read) -> ChecksReply:
    if not request.name:
        raise InvalidRequest("Missing node name")
    topic = queries.node_topic(request.name)
    return await _checks(context, request, topic, lambda store: queries.checks_of(store, request.name))


async def _service_checks(context: ServerContext, request: Read) -> ChecksReply:
    if not request.name:
        raise InvalidRequest("Missing service name")
    topic = queries.health_topic(request.name)
    return await _checks(context, request, topic, lambda store: queries.checks_of_service(store, request.name))


async def _state_checks(context: ServerContext, request: Read) -> ChecksReply:
    state = request.name
    if state not in (*STATUSES, queries.ANY_STATE):
        raise InvalidRequest(f'Invalid check state "{state}": use any, passing, warning or critical')
    return await _checks(context, request, ANY_CHECK, lambda store: queries.checks_in(store, state))


async def _checks(
    context: ServerContext, request: Read, topic: Topic, read: Callable[[Store], tuple[HealthCheck, ...]]
) -> ChecksReply:
    """The checks, with the nodes they are of as these were at the same moment."""

    def read_both(store: Store) -> tuple[tuple[HealthCheck, ...], tuple[Node, ...]]:
        checks = nearest_first(store, request.options.near, read(store), lambda check: check.node)
        return checks, queries.nodes_of(store, checks)

    meta, (checks, nodes) = await context.reads.run(request.options, (topic,), read_both)
    return ChecksReply(meta=meta, checks=checks, nodes=nodes)
