"""`/v1/config`: the mesh's replicated settings, one entry a kind and name."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.errors import bad_request, decode_failed
from chowk.agent.api.reads import fetch_with, read, read_by
from chowk.agent.api.replies import json_reply, missing_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.writes import write
from chowk.agent.config.config_entries import decode_config_entry
from chowk.core.codec import to_json
from chowk.core.commands import DeleteConfigEntry, UpsertConfigEntry
from chowk.core.config_requests import CONFIG_PLAN, ConfigPlanQuery
from chowk.core.errors import InvalidRequest
from chowk.core.records.config_entry import KINDS, AnyConfigEntry
from chowk.core.requests import CONFIG_READ, CONFIG_WRITE, ConfigEntryQuery

PLANNED_MAX: Final = 256


async def apply(request: ApiRequest) -> web.Response:
    """Write an entry; `true`, or `false` when `?cas` lost. `?force` lifts the guard on the percentages of faults."""
    cas = request.query.cas("Invalid cas value")
    entry = decode_entry(await request.json(), request)
    reply = await write(request, CONFIG_WRITE, UpsertConfigEntry(entry=entry, cas=cas))
    return json_reply(request, reply.ok)


async def plan(request: ApiRequest) -> web.Response:
    """What writing the entries of the body (one, or a list) would change, for whom, and why it would be refused."""
    body = await request.json()
    values = body if isinstance(body, list) else [body]
    if not 1 <= len(values) <= PLANNED_MAX:
        raise bad_request(f"a plan is of 1 to {PLANNED_MAX} config entries")
    entries = tuple(decode_entry(value, request) for value in values)
    if len({(entry.kind, entry.name) for entry in entries}) < len(entries):
        raise bad_request("a config entry is given twice")
    fetch = fetch_with(request.context.client, CONFIG_PLAN, ConfigPlanQuery(entries=entries))
    reply = await read_by(request, (CONFIG_PLAN.name, to_json(entries)), fetch)
    shown = {
        "Changes": [
            {"Kind": change.new.kind, "Name": change.new.name, "Old": change.old, "New": change.new}
            for change in reply.plan.changes
        ],
        "Affected": [
            {"Service": each.service, "Instances": each.instances, "Sidecars": each.sidecars}
            for each in reply.plan.affected
        ],
        "Refusal": reply.plan.refusal,
        "Warnings": reply.plan.warnings,
    }
    return json_reply(request, shown, reply.meta)


def decode_entry(value: object, request: ApiRequest) -> AnyConfigEntry:
    """The entry that a body is. HttpError 400 otherwise."""
    if not isinstance(value, dict):
        raise decode_failed("a config entry is an object")
    try:
        entry = decode_config_entry(value, now=request.context.clock.wall(), force=request.query.truth("force"))
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
    cas = request.query.cas("Invalid cas value")
    reply = await write(request, CONFIG_WRITE, DeleteConfigEntry(kind=kind, name=name, cas=cas))
    return json_reply(request, reply.ok if cas is not None else {})


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise bad_request(f'invalid config entry kind: "{kind[:64]}"; known are {", ".join(sorted(KINDS))}')


ROUTES: Final = (
    Route(("PUT",), "/v1/config", apply, "config:write"),
    Route(("PUT",), "/v1/config/plan", plan, "config:read"),
    Route(("GET",), "/v1/config/{path:.*}", get, "config:read"),
    Route(("DELETE",), "/v1/config/{path:.*}", delete, "config:write"),
)
