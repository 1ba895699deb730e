"""`/v1/status/*`: who leads, and who the servers are."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import ANYONE, Route
from chowk.core.requests import STATUS_LEADER, Empty


async def leader(request: ApiRequest) -> web.Response:
    """The leader's address as a JSON string, "" when nobody leads."""
    reply = await request.context.client.call(STATUS_LEADER, Empty())
    return json_reply(request, reply.leader)


async def peers(request: ApiRequest) -> web.Response:
    """The addresses of all servers."""
    reply = await request.context.client.call(STATUS_LEADER, Empty())
    return json_reply(request, reply.peers)


ROUTES: Final = (
    Route(("GET",), "/v1/status/leader", leader, ANYONE),
    Route(("GET",), "/v1/status/peers", peers, ANYONE),
)
