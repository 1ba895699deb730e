"""`/v1/event/*`: fire a user event, and list those that reached this agent."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from chowk.agent.api.keyring import gossip_of
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.gossip.event_log import ClusterEvent
from chowk.core.requests import QueryMeta

PAYLOAD_BYTES_MAX: Final = 4096
"""Of a request's body; what fits in a packet is less, and gossip says how much."""


async def fire(request: ApiRequest) -> web.Response:
    """Fire; the body is the payload. `?node`, `?service`, `?tag` are regular expressions: which agents take notice."""
    gossip = gossip_of(request, "fire an event")
    query = request.query
    event = await gossip.fire(
        request.part("name", "Missing name"),
        await request.body(),
        node=query.get("node"),
        service=query.get("service"),
        tag=query.get("tag"),
    )
    # As Consul's: the Lamport time of an event that was only just fired is not told.
    return json_reply(request, _shown(event) | {"LTime": 0})


async def events(request: ApiRequest) -> web.Response:
    """The events that this agent took notice of, the oldest first; blocks until there is another (`?index`)."""
    gossip = gossip_of(request, "list events")
    options = request.read_options()
    name = request.query.get("name")
    if options.min_index:
        await gossip.events.wait(options.min_index, options.max_wait_s, name)
    meta = QueryMeta(index=gossip.events.index(name))
    return json_reply(request, [_shown(event) for event in gossip.events.list(name)], meta)


def _shown(event: ClusterEvent) -> dict[str, Any]:
    return {
        "ID": event.id,
        "Name": event.name,
        "Payload": event.payload or None,
        "NodeFilter": event.node_filter,
        "ServiceFilter": event.service_filter,
        "TagFilter": event.tag_filter,
        "Version": 1,
        "LTime": event.time,
    }


ROUTES: Final = (
    Route(("PUT",), "/v1/event/fire/{name:.*}", fire, "event:write", PAYLOAD_BYTES_MAX),
    Route(("GET",), "/v1/event/list", events, "event:read"),
)
