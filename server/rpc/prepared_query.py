"""Prepared queries: written here, and run for HTTP. For DNS the agents run them, by the same rules."""

from __future__ import annotations

from functools import partial
from typing import Final
from uuid import UUID

import msgspec
import structlog

from chowk.core import limits
from chowk.core.commands import DeletePreparedQuery, SetPreparedQuery
from chowk.core.durations import parse_duration
from chowk.core.errors import InvalidRequest, NotFound
from chowk.core.query_index import chosen, own_first, shuffled
from chowk.core.query_requests import (
    QUERY_EXECUTE,
    QUERY_EXPLAIN,
    QUERY_READ,
    QUERY_WRITE,
    ExecuteQuery,
    ExecuteReply,
    PreparedQueriesReply,
)
from chowk.core.query_template import Template
from chowk.core.records.prepared_query import NEAR_AGENT, NEAR_CLIENT, PreparedQuery, QueryService
from chowk.core.requests import QueryMeta, QueryOptions, Read, Write, WriteReply
from chowk.server.rpc.context import ServerContext
from chowk.server.state import queries
from chowk.server.state.coordinates import nearest_first
from chowk.server.state.prepared_query import write_problem
from chowk.server.state.prepared_query_table import ALL_QUERIES
from chowk.server.state.store import Store

log = structlog.get_logger("chowk.query")
LIST_MAX: Final = 256
ASKED_CHARS_MAX: Final = 1024
NOT_FOUND: Final = "Query not found"


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.leader.serve(QUERY_WRITE, partial(_write, context))
    context.gate.serve(QUERY_READ, partial(_read, context))
    context.gate.serve(QUERY_EXPLAIN, partial(_explain, context))
    context.gate.serve(QUERY_EXECUTE, partial(_execute, context))


async def _write(context: ServerContext, write: Write) -> WriteReply:
    context.reads.check_datacenter(write.datacenter)
    context.writes.admit(write, (SetPreparedQuery, DeletePreparedQuery), QUERY_WRITE.name)
    command = write.command
    if isinstance(command, SetPreparedQuery):
        query = msgspec.structs.replace(command.query, create_index=0, modify_index=0)
        _check(query)
        command = msgspec.structs.replace(command, query=query)
        store = context.machine.store
        problem = write_problem(store, query)
        if problem and store.sessions.recall(write.client, write.sequence) is None:
            raise InvalidRequest(problem)
    return await context.writes.propose(command, write.client, write.sequence)


async def _read(context: ServerContext, request: Read) -> PreparedQueriesReply:
    def read(store: Store) -> tuple[PreparedQuery, ...]:
        records = store.prepared_queries.records
        if not request.name:
            return tuple(records.values())
        found = records.get(request.name.lower())
        return () if found is None else (found,)

    meta, found = await context.reads.run(request.options, (ALL_QUERIES,), read)
    return PreparedQueriesReply(meta=meta, queries=found)


async def _explain(context: ServerContext, request: ExecuteQuery) -> PreparedQueriesReply:
    meta, query = await _resolved(context, request)
    return PreparedQueriesReply(meta=meta, queries=(query,))


async def _execute(context: ServerContext, request: ExecuteQuery) -> ExecuteReply:
    """Not a read that blocks, as in Consul: what it rests on may change with every answer."""
    if not 0 <= request.limit <= limits.LIMIT_MAX:
        raise InvalidRequest("Bad limit: it must be a number that is not negative")
    meta, query = await _resolved(context, request)
    store, service = context.machine.store, query.service
    connect = service.connect or request.connect
    found = chosen(service, queries.instances(store, service.service, connect=connect))
    near = _near(store, request, service)
    rows = nearest_first(store, near, tuple(shuffled(found, context.rng)), lambda row: row.node.node)
    instances = own_first(rows, near)
    index = max(meta.index, store.last_changed(queries.health_topic(service.service, connect=connect)))
    if not found:
        _pass_over(query)
    return ExecuteReply(
        meta=msgspec.structs.replace(meta, index=index),
        service=service.service,
        instances=tuple(instances[: request.limit or None]),
        dns=query.dns,
        datacenter=context.options.datacenter,
    )


async def _resolved(context: ServerContext, request: ExecuteQuery) -> tuple[QueryMeta, PreparedQuery]:
    """The query as it is run now, at once. NotFound when there is none."""
    options: QueryOptions = msgspec.structs.replace(request.options, min_index=0)
    if len(request.query) > ASKED_CHARS_MAX:
        raise NotFound(NOT_FOUND)
    meta, query = await context.reads.run(
        options, (ALL_QUERIES,), lambda store: store.prepared_queries.index().resolve(request.query)
    )
    if query is None:
        raise NotFound(NOT_FOUND)
    return meta, query


def _near(store: Store, request: ExecuteQuery, service: QueryService) -> str:
    """The node to sort by: the caller's wish, else the query's; "" for none."""
    near = request.near or service.near
    if near == NEAR_AGENT:
        return request.agent
    if near == NEAR_CLIENT:
        nodes, _instances = queries.at_address(store, request.client)
        return nodes[0].node if nodes else ""
    return near


def _pass_over(query: PreparedQuery) -> None:
    """Nothing is left here, and there is no other datacenter: those that the query names are unknown, and none is asked."""
    failover = query.service.failover
    unknown = [*(failover.datacenters or ()), *(target.datacenter for target in failover.targets or ())]
    if unknown:
        log.debug("unknown datacenters of a prepared query are passed over", query=query.id, datacenters=unknown)


def _check(query: PreparedQuery) -> None:
    try:
        id_is_own = str(UUID(query.id)) == query.id
    except ValueError:
        id_is_own = False
    if not id_is_own:
        raise InvalidRequest("a prepared query's id is a UUID in its usual form")
    for text, what in (
        (query.name, "Name"),
        (query.session, "Session"),
        (query.token, "Token"),
        (query.template.type, "Template.Type"),
        (query.dns.ttl, "DNS.TTL"),
    ):
        limits.check_text(text, what)
    if query.name and not query.name.isprintable():
        raise InvalidRequest(f"Name {query.name!r} contains characters that cannot be printed")
    if not (query.name or query.template.type or query.session):
        raise InvalidRequest("Must be bound to a session")
    _check_service(query.service)
    _check_ttl(query.dns.ttl)
    try:
        Template(query).render(query.name)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None


def _check_service(service: QueryService) -> None:
    if not service.service:
        raise InvalidRequest("Must provide a Service name to query")
    limits.check_text(service.service, "Service.Service")
    limits.check_text(service.near, "Service.Near")
    failover = service.failover
    if not 0 <= failover.nearest_n <= limits.LIMIT_MAX:
        raise InvalidRequest(f"Bad NearestN '{failover.nearest_n}', must be >= 0")
    if failover.targets and (failover.nearest_n or failover.datacenters):
        raise InvalidRequest("Targets cannot be populated with NearestN or Datacenters")
    targets = tuple(target.datacenter for target in failover.targets or ())
    for texts, what in (
        (failover.datacenters, "Service.Failover.Datacenters"),
        (targets, "Service.Failover.Targets"),
        (service.ignore_check_ids, "Service.IgnoreCheckIDs"),
        (service.tags, "Service.Tags"),
    ):
        if len(texts or ()) > LIST_MAX:
            raise InvalidRequest(f"{what} has more than {LIST_MAX} entries")
        for text in texts or ():
            limits.check_text(text, what)
    for meta, whose in ((service.node_meta, "Node"), (service.service_meta, "Service")):
        try:
            limits.check_meta(meta or {}, whose)
        except InvalidRequest as error:
            raise InvalidRequest(f"Invalid {whose.lower()} metadata filter: {error}") from None


def _check_ttl(ttl: str) -> None:
    try:
        ttl_s = parse_duration(ttl) if ttl else 0.0
    except ValueError as error:
        raise InvalidRequest(f"Bad DNS TTL '{ttl}': {error}") from None
    if ttl_s < 0:
        raise InvalidRequest(f"DNS TTL '{ttl}', must be >=0")
