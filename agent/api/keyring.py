"""`/v1/operator/keyring`: the gossip keys of the cluster: list, install, use, remove."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.context import GossipPort
from chowk.agent.api.errors import HttpError, bad_request
from chowk.agent.api.replies import empty_reply, json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Handler, Route
from chowk.core.records.base import Record


class KeyBody(Record, frozen=True, kw_only=True):
    """A key in base64."""

    key: str = ""


def gossip_of(request: ApiRequest, what: str) -> GossipPort:
    """Gossip. HttpError 501 when this agent runs without."""
    gossip = request.context.gossip
    if gossip is None:
        raise HttpError(501, f"cannot {what}: this agent runs without gossip")
    return gossip


async def list_keys(request: ApiRequest) -> web.Response:
    """How many members have which key; `?local-only` those of this agent."""
    reply = await gossip_of(request, "list keys").change_keys(
        "list", local_only=request.query.truth("local-only", empty=False)
    )
    if reply.errors and len(reply.errors) == reply.members:
        raise HttpError(500, "; ".join(f"{name}: {text}" for name, text in reply.errors.items()))
    answer = {
        "WAN": False,
        "Datacenter": request.context.config().datacenter,
        "Segment": "",
        "Keys": reply.keys,
        "PrimaryKeys": reply.primary,
        "NumNodes": reply.members,
    }
    if reply.errors:
        answer["Messages"] = reply.errors
    return json_reply(request, [answer])


def _change(operation: str) -> Handler:
    async def change(request: ApiRequest) -> web.Response:
        """Do it at every member; an error says at which it failed."""
        gossip = gossip_of(request, f"{operation} a key")
        body = await request.json_as(KeyBody)
        if not body.key:
            raise bad_request("Missing Key")
        await gossip.change_keys(operation, body.key)
        return empty_reply()

    return change


ROUTES: Final = (
    Route(("GET",), "/v1/operator/keyring", list_keys, "keyring:read"),
    Route(("POST",), "/v1/operator/keyring", _change("install"), "keyring:write"),
    Route(("PUT",), "/v1/operator/keyring", _change("use"), "keyring:write"),
    Route(("DELETE",), "/v1/operator/keyring", _change("remove"), "keyring:write"),
)
