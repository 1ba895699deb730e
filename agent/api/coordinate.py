"""`/v1/coordinate/*`: where nodes are in the network, from which round-trip times are estimated."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.errors import bad_request
from chowk.agent.api.reads import read
from chowk.agent.api.replies import empty_reply, json_reply, missing_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import ANYONE, Route
from chowk.core.coordinate_requests import (
    COORDINATE_DATACENTERS,
    COORDINATE_NODES,
    COORDINATE_UPDATE,
    CoordinateUpdate,
)
from chowk.core.records.base import Record
from chowk.core.records.coordinate import Coordinate, NodeCoordinate
from chowk.core.requests import Empty, Read


class UpdateBody(Record, frozen=True, kw_only=True):
    """The body of an update. `partition` is what clients echo."""

    datacenter: str = ""
    node: str = ""
    segment: str = ""
    partition: str = ""
    coord: Coordinate | None = None


async def datacenters(request: ApiRequest) -> web.Response:
    """The coordinates of the servers of each datacenter."""
    reply = await request.context.client.call(COORDINATE_DATACENTERS, Empty())
    return json_reply(request, reply.maps)


async def nodes(request: ApiRequest) -> web.Response:
    """The coordinates of all nodes that have one, by name."""
    reply = await read(request, COORDINATE_NODES, Read())
    return json_reply(request, [row for row in reply.coordinates if _is_asked(request, row)], reply.meta)


async def node(request: ApiRequest) -> web.Response:
    """The coordinate of a node, in a list; 404 when it has none."""
    reply = await read(request, COORDINATE_NODES, Read(name=request.part("node", "Missing node name")))
    rows = [row for row in reply.coordinates if _is_asked(request, row)]
    return json_reply(request, rows, reply.meta) if rows else missing_reply("", reply.meta)


async def update(request: ApiRequest) -> web.Response:
    """Note where a node is: for nodes without an agent, whose round-trip times somebody else measures."""
    given = await request.json_as(UpdateBody)
    if given.coord is None:
        raise bad_request("Missing coordinate")
    asked = CoordinateUpdate(
        coordinate=NodeCoordinate(node=given.node, segment=given.segment, coord=given.coord),
        datacenter=given.datacenter or request.query.get("dc"),
        token=request.token,
    )
    await request.context.client.call(COORDINATE_UPDATE, asked)
    return empty_reply()


def _is_asked(request: ApiRequest, row: NodeCoordinate) -> bool:
    return request.query.get("segment") in ("", row.segment)


ROUTES: Final = (
    Route(("GET",), "/v1/coordinate/datacenters", datacenters, ANYONE),
    Route(("GET",), "/v1/coordinate/nodes", nodes, "node:read"),
    Route(("GET",), "/v1/coordinate/node/{node:.*}", node, "node:read"),
    Route(("PUT",), "/v1/coordinate/update", update, "node:write"),
)
