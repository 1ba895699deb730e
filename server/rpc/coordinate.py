"""Coordinate: where nodes are in the network. Their news are gathered by the leader: see `server.leader.coordinates`."""

from __future__ import annotations

from functools import partial
from typing import Final

from chowk.core.coordinate_requests import (
    COORDINATE_DATACENTERS,
    COORDINATE_NODES,
    CoordinatesReply,
    DatacenterMap,
    DatacenterMapsReply,
)
from chowk.core.requests import STALE, Empty, QueryOptions, Read
from chowk.server.rpc.context import ServerContext
from chowk.server.state.coordinates import ANY_COORDINATE, coordinate_topic, coordinates, of_service

AREA: Final = "lan"
"""One datacenter is one area: there is no other network yet."""

SERVERS: Final = "consul"
"""The service that the nodes of servers offer."""


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.gate.serve(COORDINATE_NODES, partial(_nodes, context))
    context.gate.serve(COORDINATE_DATACENTERS, partial(_datacenters, context))


async def _nodes(context: ServerContext, request: Read) -> CoordinatesReply:
    topic = coordinate_topic(request.name) if request.name else ANY_COORDINATE
    meta, found = await context.reads.run(request.options, (topic,), lambda store: coordinates(store, request.name))
    return CoordinatesReply(meta=meta, coordinates=found)


async def _datacenters(context: ServerContext, _request: Empty) -> DatacenterMapsReply:
    options = QueryOptions(consistency=STALE)
    _meta, found = await context.reads.run(options, (ANY_COORDINATE,), lambda store: of_service(store, SERVERS))
    here = DatacenterMap(datacenter=context.options.datacenter, area_id=AREA, coordinates=found)
    return DatacenterMapsReply(maps=(here,))
