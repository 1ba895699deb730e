"""`/v1/connect/intentions`: who may open connections to whom. The servers keep them in `service-intentions` entries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec
from aiohttp import web

from chowk.agent.api.errors import bad_request, not_found
from chowk.agent.api.reads import filtered, read
from chowk.agent.api.replies import json_reply, missing_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.turns import kept
from chowk.agent.api.writes import write
from chowk.core.commands import DeleteIntention, UpsertIntention
from chowk.core.records.base import Record
from chowk.core.records.config_entry import ALLOW, DENY, Permission, SourceIntention
from chowk.core.records.intention import Intention
from chowk.core.requests import (
    INTENTION_CHECK,
    INTENTION_EXACT,
    INTENTION_LIST,
    INTENTION_MATCH,
    INTENTION_WRITE,
    IntentionExactQuery,
    IntentionMatchQuery,
    Read,
)

NAMES_MAX: Final = 64
"""Names that one `match` may ask for."""

NAME: Final = frozenset({"name"})


class IntentionBody(Record, frozen=True, kw_only=True):
    """The body of a write. The deprecated forms name source and destination in it, the exact form in the query string.

    `precedence`, times and indexes are what a reader may send back; the servers compute them.
    """

    id: str = ""
    description: str = ""
    source_ns: str = msgspec.field(default="", name="SourceNS")
    source_partition: str = ""
    source_peer: str = ""
    source_name: str = ""
    destination_ns: str = msgspec.field(default="", name="DestinationNS")
    destination_partition: str = ""
    destination_name: str = ""
    source_type: str = "consul"
    action: str = ""
    permissions: tuple[Permission, ...] = ()
    meta: dict[str, str] = msgspec.field(default_factory=dict)
    precedence: int = 0
    created_at: str = ""
    updated_at: str = ""
    hash: str | None = None
    create_index: int = 0
    modify_index: int = 0


async def list_all(request: ApiRequest) -> web.Response:
    """All intentions, highest precedence first."""
    keep = filtered(request, Intention)
    reply = await read(request, INTENTION_LIST, Read())
    return json_reply(request, await kept(reply.intentions, keep), reply.meta)


async def get_exact(request: ApiRequest) -> web.Response:
    """The intention of `?source=` and `?destination=`."""
    source, destination = _pair(request)
    return await _one(request, IntentionExactQuery(source=source, destination=destination))


async def put_exact(request: ApiRequest) -> web.Response:
    """Write the intention of `?source=` and `?destination=`; `true`."""
    source, destination = _pair(request)
    body = await request.json_as(IntentionBody)
    for given, wanted, name in (
        (body.source_name, source, "SourceName"),
        (body.destination_name, destination, "DestinationName"),
    ):
        if given and given != wanted:
            raise bad_request(f'{name} "{given}" in the body is not "{wanted}" of the query string')
    await write(request, INTENTION_WRITE, UpsertIntention(destination=destination, source=_source(body, source)))
    return json_reply(request, True)


async def delete_exact(request: ApiRequest) -> web.Response:
    """Remove the intention of `?source=` and `?destination=`; `true`, also when there was none."""
    source, destination = _pair(request)
    await write(request, INTENTION_WRITE, DeleteIntention(destination=destination, source=source))
    return json_reply(request, True)


async def match(request: ApiRequest) -> web.Response:
    """For each `?name=` the intentions that match it `?by=` source or destination."""
    by, names = request.query.get("by"), tuple(_name(name) for name in request.query.all("name"))
    if "by" not in request.query:
        raise bad_request("required query parameter 'by' not set")
    if by not in ("source", "destination"):
        raise bad_request("'by' parameter must be one of 'source' or 'destination'")
    if not names or not all(names):
        raise bad_request("required query parameter 'name' not set")
    if len(names) > NAMES_MAX:
        raise bad_request(f"more than {NAMES_MAX} names")
    reply = await read(request, INTENTION_MATCH, IntentionMatchQuery(by=by, names=names))
    return json_reply(request, dict(zip(names, reply.matches, strict=True)), reply.meta)


async def check(request: ApiRequest) -> web.Response:
    """May `?source=` connect to `?destination=`? `Reason` says why, in words."""
    source, destination = _pair(request)
    reply = await read(request, INTENTION_CHECK, IntentionExactQuery(source=source, destination=destination))
    return json_reply(request, {"Allowed": reply.allowed, "Reason": reply.reason}, reply.meta)


async def create(request: ApiRequest) -> web.Response:
    """The deprecated form: a new intention with an ID of its own; `{"ID": …}`."""
    body = await request.json_as(IntentionBody)
    if body.id:
        raise bad_request("ID must be empty when creating a new intention")
    source, destination = _names_of(body)
    if await _find(request, IntentionExactQuery(source=source, destination=destination)) is not None:
        raise bad_request(f"duplicate intention found: {source} => {destination}")
    made = uuid4()
    now = datetime.fromtimestamp(request.context.clock.wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    row = msgspec.structs.replace(
        _source(body, source), legacy_id=str(made), legacy_create_time=now, legacy_update_time=now
    )
    await write(request, INTENTION_WRITE, UpsertIntention(destination=destination, source=row))
    return json_reply(request, {"ID": str(made)})


async def get_by_id(request: ApiRequest) -> web.Response:
    """The deprecated form: an intention by its ID."""
    return await _one(request, IntentionExactQuery(id=_id(request)))


async def put_by_id(request: ApiRequest) -> web.Response:
    """The deprecated form: write an intention by its ID; its source and destination stay."""
    body = await request.json_as(IntentionBody)
    found = await _find(request, IntentionExactQuery(id=_id(request)))
    if found is None:
        raise not_found("Intention not found")
    source, destination = body.source_name or found.source_name, body.destination_name or found.destination_name
    if (_name(source), _name(destination)) != (found.source_name, found.destination_name):
        raise bad_request("SourceName and DestinationName of an intention cannot be changed")
    now = datetime.fromtimestamp(request.context.clock.wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    row = msgspec.structs.replace(
        _source(body, found.source_name),
        legacy_id=found.id,
        legacy_create_time=found.created_at,
        legacy_update_time=now,
    )
    await write(request, INTENTION_WRITE, UpsertIntention(destination=found.destination_name, source=row))
    return json_reply(request, {"ID": found.id})


async def delete_by_id(request: ApiRequest) -> web.Response:
    """The deprecated form: remove an intention by its ID; `true`, also when there was none."""
    found = await _find(request, IntentionExactQuery(id=_id(request)))
    if found is not None:
        command = DeleteIntention(destination=found.destination_name, source=found.source_name)
        await write(request, INTENTION_WRITE, command)
    return json_reply(request, True)


async def _one(request: ApiRequest, query: IntentionExactQuery) -> web.Response:
    reply = await read(request, INTENTION_EXACT, query)
    if not reply.intentions:
        return missing_reply("Intention not found", reply.meta)
    return json_reply(request, reply.intentions[0], reply.meta)


async def _find(request: ApiRequest, query: IntentionExactQuery) -> Intention | None:
    reply = await request.context.client.call(INTENTION_EXACT, query)
    return reply.intentions[0] if reply.intentions else None


def _pair(request: ApiRequest) -> tuple[str, str]:
    for name in ("source", "destination"):
        if not request.query.get(name):
            raise bad_request(f"required query parameter '{name}' not set")
    return _name(request.query.get("source")), _name(request.query.get("destination"))


def _name(text: str) -> str:
    """`web`, or `web` with its default scopes before it: `default/web`, `default/default/web`."""
    *scopes, name = text.split("/")
    if len(scopes) > 2 or any(scope != "default" for scope in scopes):
        raise bad_request(f'Invalid name "{text[:128]}": namespaces are not supported')
    return name


def _names_of(body: IntentionBody) -> tuple[str, str]:
    for value in (body.source_ns, body.destination_ns, body.source_partition, body.destination_partition):
        if value not in ("", "default"):
            raise bad_request("namespaces are not supported")
    if not body.source_name or not body.destination_name:
        raise bad_request("SourceName and DestinationName must be set")
    return body.source_name, body.destination_name


def _source(body: IntentionBody, name: str) -> SourceIntention:
    """The source row that a body asks for. HttpError 400 when it says not what to do, or two things."""
    if body.source_peer:
        raise bad_request("cluster peering is not supported")
    if body.source_type != "consul":
        raise bad_request("SourceType must be set to 'consul'")
    if body.permissions and body.action:
        raise bad_request("Action must be omitted if Permissions are specified")
    if not body.permissions and body.action not in (ALLOW, DENY):
        raise bad_request("Action must be set to 'allow' or 'deny'")
    if any(rule.action not in (ALLOW, DENY) for rule in body.permissions):
        raise bad_request("the Action of each of Permissions must be set to 'allow' or 'deny'")
    return SourceIntention(
        name=name,
        action=body.action,
        permissions=body.permissions,
        description=body.description,
        legacy_meta=body.meta,
    )


def _id(request: ApiRequest) -> str:
    text = request.part("id")
    try:
        return str(UUID(text))
    except ValueError:
        raise bad_request(f'Bad intention ID "{text[:64]}": it is not a UUID') from None


ROUTES: Final = (
    Route(("GET",), "/v1/connect/intentions", list_all, "intention:read"),
    Route(("POST",), "/v1/connect/intentions", create, "intention:write"),
    Route(("GET",), "/v1/connect/intentions/exact", get_exact, "intention:read"),
    Route(("PUT",), "/v1/connect/intentions/exact", put_exact, "intention:write"),
    Route(("DELETE",), "/v1/connect/intentions/exact", delete_exact, "intention:write"),
    Route(("GET",), "/v1/connect/intentions/match", match, "intention:read", repeatable=NAME),
    Route(("GET",), "/v1/connect/intentions/check", check, "intention:read"),
    Route(("GET",), "/v1/connect/intentions/{id:[^/]*-[^/]*}", get_by_id, "intention:read"),
    Route(("PUT",), "/v1/connect/intentions/{id:[^/]*-[^/]*}", put_by_id, "intention:write"),
    Route(("DELETE",), "/v1/connect/intentions/{id:[^/]*-[^/]*}", delete_by_id, "intention:write"),
)
