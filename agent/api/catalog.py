"""`/v1/catalog/*` reads: nodes, services and who runs what. The writes are in `registration`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import web

from chowk.agent.api import instances
from chowk.agent.api.reads import cached, filtered, mark_cached, matches_meta, read, view_meta
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import ANYONE, Route
from chowk.agent.api.turns import kept
from chowk.agent.api.variants import CATALOG
from chowk.core.events import NODES, SERVICES, NodeItem, ServiceSummary, SummaryItem, Topic
from chowk.core.records.base import Record
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.core.requests import (
    CATALOG_DATACENTERS,
    CATALOG_NODE_SERVICES,
    CATALOG_NODES,
    CATALOG_SERVICES,
    Empty,
    Read,
    ServicesQuery,
)


class ServiceTags(Record, frozen=True, kw_only=True):
    """What a filter of `/v1/catalog/services` sees."""

    service_name: str
    service_tags: tuple[str, ...]


async def datacenters(request: ApiRequest) -> web.Response:
    """The names of the known datacenters."""
    reply = await request.context.client.call(CATALOG_DATACENTERS, Empty())
    return json_reply(request, reply.datacenters)


async def nodes(request: ApiRequest) -> web.Response:
    """All nodes, ordered by name."""
    keep, meta = filtered(request, Node), request.query.node_meta()
    known = await cached(request, Topic(kind=NODES))
    if known is None:
        reply = await read(request, CATALOG_NODES, Read())
        return json_reply(request, [n for n in await kept(reply.nodes, keep) if matches_meta(meta, n)], reply.meta)
    view, hit = known
    known_of = view_meta(view)  # of the items as they are now: others may be served while the filter is at them
    items = [item.node for _key, item in sorted(view.items.items()) if isinstance(item, NodeItem)]
    rows = [n for n in await kept(items, keep) if matches_meta(meta, n)]
    return mark_cached(json_reply(request, rows, known_of), view, hit)


async def services(request: ApiRequest) -> web.Response:
    """The names of all services, each with all tags of its instances."""
    keep, meta = filtered(request, ServiceTags), request.query.node_meta()
    known = None if meta else await cached(request, Topic(kind=SERVICES))
    if known is not None:
        view, hit = known
        summaries = [item.summary for item in view.items.values() if isinstance(item, SummaryItem)]
        known_of = view_meta(view)
        return mark_cached(json_reply(request, await _tags(summaries, keep), known_of), view, hit)
    reply = await read(request, CATALOG_SERVICES, ServicesQuery(node_meta=tuple(sorted(meta.items()))))
    return json_reply(request, await _tags(reply.services, keep), reply.meta)


async def _tags(summaries: Iterable[ServiceSummary], keep: Callable[[ServiceTags], bool]) -> dict[str, tuple[str, ...]]:
    rows = sorted((summary.service, summary.tags) for summary in summaries)
    found = await kept([ServiceTags(service_name=name, service_tags=tags) for name, tags in rows], keep)
    return {row.service_name: row.service_tags for row in found}


async def service(request: ApiRequest) -> web.Response:
    """The instances of a service, flattened with their nodes."""
    return await instances.rows(request, CATALOG, connect=False)


async def connect(request: ApiRequest) -> web.Response:
    """The mesh-capable instances of a service, flattened with their nodes."""
    return await instances.rows(request, CATALOG, connect=True)


async def node(request: ApiRequest) -> web.Response:
    """A node and its services by id; `null` when there is no such node."""
    keep = filtered(request, NodeService)
    name = request.part("node", "Missing node name")
    reply = await read(request, CATALOG_NODE_SERVICES, Read(name=name))
    if reply.node is None:
        return json_reply(request, None, reply.meta)
    found = {row.id: row for row in await kept(reply.services, keep)}
    return json_reply(request, {"Node": reply.node, "Services": found}, reply.meta)


async def node_services(request: ApiRequest) -> web.Response:
    """A node and its services as a list; the node is `null` when there is no such node."""
    keep = filtered(request, NodeService)
    name = request.part("node", "Missing node name")
    reply = await read(request, CATALOG_NODE_SERVICES, Read(name=name))
    rows = await kept(reply.services, keep)
    return json_reply(request, {"Node": reply.node, "Services": rows}, reply.meta)


ROUTES: Final = (
    Route(("GET",), "/v1/catalog/datacenters", datacenters, ANYONE),
    Route(("GET",), "/v1/catalog/nodes", nodes, "node:read"),
    Route(("GET",), "/v1/catalog/services", services, "service:read"),
    Route(("GET",), "/v1/catalog/service/{service:.*}", service, "service:read"),
    Route(("GET",), "/v1/catalog/connect/{service:.*}", connect, "service:read"),
    Route(("GET",), "/v1/catalog/node/{node:.*}", node, "node:read"),
    Route(("GET",), "/v1/catalog/node-services/{node:.*}", node_services, "node:read"),
)
