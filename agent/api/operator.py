"""`/v1/operator/*`: the servers as Raft knows them."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.core.requests import RAFT_CONFIGURATION, Empty


async def raft_configuration(request: ApiRequest) -> web.Response:
    """The membership of the Raft cluster, and the index it was committed at."""
    reply = await request.context.client.call(RAFT_CONFIGURATION, Empty())
    servers = [
        {
            "ID": server.id,
            "Node": server.node,
            "Address": server.address,
            "Leader": server.leader,
            "ProtocolVersion": server.protocol_version,
            "Voter": server.voter,
        }
        for server in reply.servers
    ]
    return json_reply(request, {"Servers": servers, "Index": reply.index})


ROUTES: Final = (Route(("GET",), "/v1/operator/raft/configuration", raft_configuration, "operator:read"),)
