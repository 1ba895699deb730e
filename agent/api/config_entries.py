"""`/v1/config`: the mesh's replicated settings, one entry a kind and name."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.errors import bad_request, decode_failed
from chowk.agent.api.reads import read
from chowk.agent.api.replies import json_reply, missing_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.writes import write
from chowk.agent.config.config_entries import decode_config_entry
from chowk.core.commands import DeleteConfigEntry, UpsertConfigEntry
from chowk.core.errors import InvalidRequest
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
        raise decode_failed("a config entry is an object")
    try:
        entry = decode_config_entry(value)
    except InvalidRequest as error:
        raise decode_failed(str(error)) from None
    if entry is None:
        raise decode_failed("not a config entry")
    return entry


async def get(request: ApiRequest) -> web.Response:
    """One entry, or all of a kind."""
    kind, _, name = request.part("path", "Must provide either a kind or both kind and name").partition("/")
    _check_kind(kind)
    reply = await read(request, CONFIG_READ, ConfigEntryQuery(kind=kind, name=name))
    if not name:
        return json_reply(request, reply.entries, reply.meta)
    if not reply.entries:
        return missing_reply(f'Config entry not found for "{kind}" / "{name}"', reply.meta)
    return json_reply(request, reply.entries[0], reply.meta)


async def delete(request: ApiRequest) -> web.Response:
    """Remove an entry: `{}`; with `?cas` `true`, or `false` when that lost."""
    kind, _, name = request.part("path", "Must provide either a kind or both kind and name").partition("/")
    if not name:
        raise bad_request("Must provide both a kind and a name to delete")
    _check_kind(kind)
    cas = request.query.number("cas", "Invalid cas value")
    reply = await write(request, CONFIG_WRITE, DeleteConfigEntry(kind=kind, name=name, cas=cas))
    return json_reply(request, reply.ok if cas is not None else {})


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise bad_request(f'invalid config entry kind: "{kind[:64]}"; known are {", ".join(sorted(KINDS))}')


ROUTES: Final = (
    Route(("PUT",), "/v1/config", apply, "config:write"),
    Route(("GET",), "/v1/config/{path:.*}", get, "config:read"),
    Route(("DELETE",), "/v1/config/{path:.*}", delete, "config:write"),
)
