"""`/v1/config`: the mesh's replicated settings, one entry a kind and name."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api import body
from chowk.agent.api.errors import bad_request, not_found
from chowk.agent.api.reads import read
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.writes import write
from chowk.core.commands import DeleteConfigEntry, UpsertConfigEntry
from chowk.core.records.config_entry import KINDS, AnyConfigEntry
from chowk.core.requests import CONFIG_READ, CONFIG_WRITE, ConfigEntryQuery


async def apply(request: ApiRequest) -> web.Response:
    """Write an entry; `true`, or `false` when `?cas` lost."""
    cas = request.query.number("cas", "Invalid cas value")
    entry = decode_entry(await request.json())
    reply = await write(request, CONFIG_WRITE, UpsertConfigEntry(entry=entry, cas=cas))
    return json_reply(request, reply.ok)


def decode_entry(value: object) -> AnyConfigEntry:
    """The entry that a body is. HttpError 400 otherwise."""
    if not isinstance(value, dict):
        raise bad_request("Request decode failed: a config entry is an object")
    kind = next((item for key, item in value.items() if key.lower() == "kind"), None)
    if not isinstance(kind, str) or not kind:
        raise bad_request("Request decode failed: Payload does not contain a kind/Kind key at the top level")
    return body.convert(value, _kind(kind))


async def get(request: ApiRequest) -> web.Response:
    """One entry, or all of a kind."""
    kind, _, name = request.part("path", "Must provide either a kind or both kind and name").partition("/")
    _kind(kind)
    reply = await read(request, CONFIG_READ, ConfigEntryQuery(kind=kind, name=name))
    if not name:
        return json_reply(request, reply.entries, reply.meta)
    if not reply.entries:
        raise not_found(f'Config entry not found for "{kind}" / "{name}"')
    return json_reply(request, reply.entries[0], reply.meta)


async def delete(request: ApiRequest) -> web.Response:
    """Remove an entry: `{}`; with `?cas` `true`, or `false` when that lost."""
    kind, _, name = request.part("path", "Must provide either a kind or both kind and name").partition("/")
    if not name:
        raise bad_request("Must provide both a kind and a name to delete")
    _kind(kind)
    cas = request.query.number("cas", "Invalid cas value")
    reply = await write(request, CONFIG_WRITE, DeleteConfigEntry(kind=kind, name=name, cas=cas))
    return json_reply(request, reply.ok if cas is not None else {})


def _kind(kind: str) -> type[AnyConfigEntry]:
    found = KINDS.get(kind)
    if found is None:
        raise bad_request(f'invalid config entry kind: "{kind[:64]}"; known are {", ".join(sorted(KINDS))}')
    return found


ROUTES: Final = (
    Route(("PUT",), "/v1/config", apply, "config:write"),
    Route(("GET",), "/v1/config/{path:.*}", get, "config:read"),
    Route(("DELETE",), "/v1/config/{path:.*}", delete, "config:write"),
)
