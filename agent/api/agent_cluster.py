"""`/v1/agent/join`, `leave`, `force-leave`, `reload`, `maintenance`, `token`: what changes the agent as a whole."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.agent_writes import applied, asked_enable
from chowk.agent.api.errors import HttpError, bad_request, not_found
from chowk.agent.api.keyring import gossip_of
from chowk.agent.api.replies import empty_reply, text_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.core.errors import InvalidRequest

TOKEN_TYPES: Final = frozenset({
    "default", "agent", "agent_recovery", "config_file_service_registration", "replication",
    "acl_token", "acl_agent_token", "acl_agent_master_token", "acl_replication_token",
})  # fmt: skip


async def join(request: ApiRequest) -> web.Response:
    """Join the cluster of the agent at `address` (a host, `host:port`, `[v6]:port`); an error says why that failed."""
    address = request.part("address", "Missing address")
    if request.query.truth("wan", empty=False):
        raise bad_request("cannot join over the WAN: this agent knows its own datacenter only")
    await gossip_of(request, f"join {address}").join([address])
    return empty_reply()


async def leave(request: ApiRequest) -> web.Response:
    """Leave the cluster and stop; answered before the agent stops listening."""
    if request.context.leave is not None:
        await request.context.leave()
    return empty_reply()


async def force_leave(request: ApiRequest) -> web.Response:
    """Take a failed member for one that left; `?prune` forgets it. One that is alive stays, and the body says so (200, as
    in Consul); an unknown one is 404."""
    node = request.part("node", "Missing node name")
    if node not in {member.get("Name") for member in request.context.members()}:
        raise not_found(f"agent: No node found with name '{node}'")
    if request.context.gossip is not None:
        try:
            await request.context.gossip.force_leave(node, request.query.flag("prune"))
        except InvalidRequest as error:
            return text_reply(str(error))
    return empty_reply()


async def reload(request: ApiRequest) -> web.Response:
    """Read the configuration files again. With an error in them nothing changes, and the answer names it."""
    if request.context.reload is not None:
        await request.context.reload()
    return empty_reply()


async def maintenance(request: ApiRequest) -> web.Response:
    """`?enable=true|false&reason=`: take the whole node out of rotation, or back."""
    enable, reason = asked_enable(request)
    request.context.local.set_node_maintenance(enable, reason)
    return applied(request)


async def token(request: ApiRequest) -> web.Response:
    """There are no ACLs whose token could be set."""
    kind = request.part("type", "Missing token type")
    if kind not in TOKEN_TYPES:
        raise bad_request(f'Token "{kind}" is unknown')
    raise HttpError(401, "ACL support disabled")


ROUTES: Final = (
    Route(("PUT",), "/v1/agent/join/{address:.*}", join, "agent:write"),
    Route(("PUT",), "/v1/agent/leave", leave, "agent:write"),
    Route(("PUT",), "/v1/agent/force-leave/{node:.*}", force_leave, "operator:write"),
    Route(("PUT",), "/v1/agent/reload", reload, "agent:write"),
    Route(("PUT",), "/v1/agent/maintenance", maintenance, "node:write"),
    Route(("PUT",), "/v1/agent/token/{type:.*}", token, "agent:write"),
)
