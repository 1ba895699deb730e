"""`/v1/connect/intentions/why`: the decision about a call, in plain words. For `chowk intention why`."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from chowk.agent.api.errors import bad_request
from chowk.agent.api.reads import read
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.connect.ca.spiffe import check_service_name
from chowk.connect.http1.heads import RequestHead
from chowk.connect.http1.refusal import Refusal
from chowk.connect.intentions.explanation import PERMISSIVE, explain, read_request
from chowk.core.records.config_entry import ServiceDefaults
from chowk.core.requests import CONFIG_READ, INTENTION_MATCH, ConfigEntryQuery, IntentionMatchQuery

HTTP: Final = "http"
HEADERS: Final = frozenset({"header"})


async def why(request: ApiRequest) -> web.Response:
    """May `?source=` call `?destination=`, and why? With `?path=`, `?method=` or `?header=name:value`: for that request."""
    source, destination = _service(request, "source"), _service(request, "destination")
    reply = await read(request, INTENTION_MATCH, IntentionMatchQuery(by="destination", names=(destination,)))
    defaults = await read(request, CONFIG_READ, ConfigEntryQuery(kind=ServiceDefaults.kind, name=destination))
    own = [entry for entry in defaults.entries if isinstance(entry, ServiceDefaults)]
    found = explain(
        reply.matches[0],
        source,
        destination,
        default_allow=request.context.config().default_intention_policy != "deny",
        permissive=any(entry.intention_mode == PERMISSIVE for entry in own),
        request=_request(request),
        http=any(entry.protocol == HTTP for entry in own),
    )
    return json_reply(request, msgspec.to_builtins(found), reply.meta)


def _service(request: ApiRequest, name: str) -> str:
    value = request.query.get(name)
    if not value:
        raise bad_request(f"required query parameter '{name}' not set")
    check_service_name(value)
    return value


def _request(request: ApiRequest) -> RequestHead | None:
    query = request.query
    given = query.all("header")
    if not (given or query.get("path") or query.get("method")):
        return None
    headers = []
    for text in given:
        name, colon, value = text.partition(":")
        if not colon:
            raise bad_request(f'Invalid value for ?header: "{text[:64]}" is not name:value')
        headers.append((name.strip(), value.strip()))
    try:
        return read_request(query.get("method").upper(), query.get("path"), headers)
    except Refusal as refusal:
        raise bad_request(f"the sidecar would refuse that request before it is judged: {refusal.reason}") from None


ROUTES: Final = (Route(("GET",), "/v1/connect/intentions/why", why, "intention:read", repeatable=HEADERS),)
