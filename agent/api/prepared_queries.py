"""`/v1/query…`: prepared queries, written, shown, explained and run."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final
from uuid import uuid4

import msgspec
from aiohttp import web

from chowk.agent.api.errors import bad_request, not_found
from chowk.agent.api.instances import from_view
from chowk.agent.api.reads import fetch_with, follow, is_cached, mark_from_view, read, read_by
from chowk.agent.api.registration import Scoped, refuse_scope
from chowk.agent.api.replies import empty_reply, json_reply, missing_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.writes import write
from chowk.agent.views.queries import queries_of
from chowk.core.commands import DeletePreparedQuery, SetPreparedQuery
from chowk.core.events import QUERIES, Topic
from chowk.core.query_index import picker, shuffled
from chowk.core.query_requests import QUERY_EXECUTE, QUERY_EXPLAIN, QUERY_READ, QUERY_WRITE, ExecuteQuery
from chowk.core.records.base import Record
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.prepared_query import (
    FailoverTarget,
    PreparedQuery,
    QueryDNS,
    QueryFailover,
    QueryService,
    QueryTemplate,
)
from chowk.core.requests import Read

NOT_FOUND: Final = "Query not found"


class PeerScoped(Scoped, frozen=True, kw_only=True):
    """What may name a peer."""

    peer: str = ""


class TargetBody(PeerScoped, frozen=True, kw_only=True):
    """One target of a failover."""

    datacenter: str = ""


class FailoverBody(Record, frozen=True, kw_only=True):
    """`Failover` of a definition."""

    nearest_n: int = 0
    datacenters: tuple[str, ...] | None = None
    targets: tuple[TargetBody, ...] | None = None


class QueryServiceBody(PeerScoped, frozen=True, kw_only=True):
    """`Service` of a definition."""

    service: str = ""
    sameness_group: str = ""
    failover: FailoverBody = FailoverBody()
    only_passing: bool = False
    ignore_check_ids: tuple[str, ...] | None = msgspec.field(default=None, name="IgnoreCheckIDs")
    near: str = ""
    tags: tuple[str, ...] | None = None
    node_meta: dict[str, str] | None = None
    service_meta: dict[str, str] | None = None
    connect: bool = False


class QueryBody(Record, frozen=True, kw_only=True):
    """A definition. Its indexes are what clients echo."""

    id: str = ""
    name: str = ""
    session: str = ""
    token: str = ""
    template: QueryTemplate = QueryTemplate()
    service: QueryServiceBody = QueryServiceBody()
    dns: QueryDNS = QueryDNS()
    create_index: int = 0
    modify_index: int = 0


class ExecuteShown(Record, frozen=True, kw_only=True):
    """What a query picked, in Consul's shape."""

    service: str
    nodes: tuple[ServiceInstance, ...]
    dns: QueryDNS
    datacenter: str
    failovers: int


async def create(request: ApiRequest) -> web.Response:
    """Make a query: `{"ID": …}`."""
    given = await request.json_as(QueryBody)
    if given.id:
        raise bad_request("ID must be empty when creating a new prepared query")
    id = str(uuid4())
    await write(request, QUERY_WRITE, SetPreparedQuery(query=_query(request, given, id)))
    return json_reply(request, {"ID": id})


async def update(request: ApiRequest) -> web.Response:
    """Replace a query that is there."""
    id = request.part("id", "Missing query ID").lower()
    query = _query(request, await request.json_as(QueryBody), id)
    await write(request, QUERY_WRITE, SetPreparedQuery(query=query, must_exist=True))
    return empty_reply()


async def delete(request: ApiRequest) -> web.Response:
    """Remove a query that is there."""
    id = request.part("id", "Missing query ID").lower()
    await write(request, QUERY_WRITE, DeletePreparedQuery(id=id))
    return empty_reply()


async def list_all(request: ApiRequest) -> web.Response:
    """All queries."""
    reply = await read(request, QUERY_READ, Read())
    return json_reply(request, reply.queries, reply.meta)


async def get(request: ApiRequest) -> web.Response:
    """One query, in a list."""
    reply = await read(request, QUERY_READ, Read(name=request.part("id", "Missing query ID")))
    if not reply.queries:
        return missing_reply(NOT_FOUND, reply.meta)
    return json_reply(request, reply.queries, reply.meta)


async def explain(request: ApiRequest) -> web.Response:
    """The query as it would be run: what a template becomes for this name."""
    reply = await read(request, QUERY_EXPLAIN, _execution(request))
    return json_reply(request, {"Query": reply.queries[0]}, reply.meta)


async def execute(request: ApiRequest) -> web.Response:
    """The instances that the query picks, in the order in which they are to be tried."""
    asked = _execution(request)
    kept = await _from_views(request, asked) if is_cached(request) else None
    if kept is not None:
        return kept
    fetch = fetch_with(request.context.client, QUERY_EXECUTE, asked)
    reply = await read_by(request, object(), fetch)  # shared with nobody: each caller gets an order of its own
    shown = ExecuteShown(
        service=reply.service,
        nodes=reply.instances,
        dns=reply.dns,
        datacenter=reply.datacenter,
        failovers=reply.failovers,
    )
    return json_reply(request, shown, reply.meta)


async def _from_views(request: ApiRequest, asked: ExecuteQuery) -> web.Response | None:
    """As DNS answers; None for a query that sorts by nearness: only the servers know who is near."""
    options = request.read_options()
    view, _hit = await follow(request.context, Topic(kind=QUERIES), options, blocks=False)
    query = queries_of(view).resolve(asked.query)
    if query is None:
        raise not_found(NOT_FOUND)
    service = query.service
    if service.near:
        return None
    connect = service.connect or asked.connect
    answer = await from_view(request.context, service.service, options, connect=connect)
    picked = tuple(filter(picker(service), answer.found.instances))
    shown = ExecuteShown(
        service=service.service,
        nodes=tuple(shuffled(picked, request.context.rng)[: asked.limit or None]),
        dns=query.dns,
        datacenter=request.context.config().datacenter,
        failovers=0,
    )
    return mark_from_view(json_reply(request, shown, answer.meta), bool(answer.hit), answer.age_s)


def _execution(request: ApiRequest) -> ExecuteQuery:
    query = request.query
    return ExecuteQuery(
        query=request.part("query", "Missing query ID"),
        near=query.get("near"),
        agent=request.context.config().node_name,
        client=_client(request.http),
        limit=query.number("limit", f"Bad limit: {query.get('limit')}") or 0,
        connect=query.truth("connect", empty=False),
    )


def _client(http: web.Request) -> str:
    """Who asks: as a proxy between says, which decides over no more than an order. "" when that is no address."""
    forwarded = http.headers.get("X-Forwarded-For", "").partition(",")[0].strip()
    for text in (forwarded, (http.remote or "").partition("%")[0]):
        try:
            return str(ip_address(text))
        except ValueError:
            continue
    return ""


def _query(request: ApiRequest, given: QueryBody, id: str) -> PreparedQuery:
    service, datacenter = given.service, request.context.config().datacenter
    targets = service.failover.targets
    scopes: tuple[PeerScoped, ...] = (service, *(targets or ()))
    for scoped in scopes:
        refuse_scope(scoped, "", datacenter)
        if scoped.peer:
            raise bad_request("Cluster peering is not supported")
    if service.sameness_group:
        raise bad_request("Sameness groups are not supported")
    failover = QueryFailover(
        nearest_n=service.failover.nearest_n,
        datacenters=service.failover.datacenters,
        targets=None if targets is None else tuple(FailoverTarget(datacenter=each.datacenter) for each in targets),
    )
    return PreparedQuery(
        id=id,
        name=given.name,
        session=given.session,
        token=given.token,
        template=given.template,
        service=QueryService(
            service=service.service,
            failover=failover,
            only_passing=service.only_passing,
            ignore_check_ids=service.ignore_check_ids,
            near=service.near,
            tags=service.tags,
            node_meta=service.node_meta,
            service_meta=service.service_meta,
            connect=service.connect,
        ),
        dns=given.dns,
    )


ROUTES: Final = (
    Route(("GET",), "/v1/query", list_all, "query:read"),
    Route(("POST",), "/v1/query", create, "query:write"),
    Route(("GET",), "/v1/query/{query:.+}/execute", execute, "service:read"),
    Route(("GET",), "/v1/query/{query:.+}/explain", explain, "query:read"),
    Route(("GET",), "/v1/query/{id:[^/]+}", get, "query:read"),
    Route(("PUT",), "/v1/query/{id:[^/]+}", update, "query:write"),
    Route(("DELETE",), "/v1/query/{id:[^/]+}", delete, "query:write"),
)
