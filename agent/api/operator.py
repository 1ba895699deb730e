"""`/v1/operator/*`: the servers as Raft knows them."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.replies import empty_reply, json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.core.operator_requests import RAFT_REMOVE, RAFT_TRANSFER, RaftRemove, RaftTransfer
from chowk.core.requests import RAFT_CONFIGURATION, Empty

CHANGE_TIMEOUT_S: Final = 15.0


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


async def remove_peer(request: ApiRequest) -> web.Response:
    """Remove the server with `?id` or `?address` from the Raft cluster: one that is gone for good."""
    server_id, address = request.query.get("id"), request.query.get("address")
    message = RaftRemove(id=server_id, address=address, token=request.token)
    await request.context.client.call(RAFT_REMOVE, message, timeout_s=CHANGE_TIMEOUT_S)
    return empty_reply()


async def transfer_leader(request: ApiRequest) -> web.Response:
    """Let the server with `?id` lead, or whichever is best."""
    message = RaftTransfer(id=request.query.get("id"), token=request.token)
    await request.context.client.call(RAFT_TRANSFER, message, timeout_s=CHANGE_TIMEOUT_S)
    return json_reply(request, {"Success": True})


ROUTES: Final = (
    Route(("GET",), "/v1/operator/raft/configuration", raft_configuration, "operator:read"),
    Route(("DELETE",), "/v1/operator/raft/peer", remove_peer, "operator:write"),
    Route(("POST", "PUT"), "/v1/operator/raft/transfer-leader", transfer_leader, "operator:write"),
)
