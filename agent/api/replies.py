"""Replies in Consul's shape: JSON with its headers, plain text. Called by every handler."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from chowk.agent.api.request import ApiRequest
from chowk.core import codec
from chowk.core.requests import QueryMeta


def json_reply(request: ApiRequest, value: Any, meta: QueryMeta | None = None, *, status: int = 200) -> web.Response:
    """`value` (records or plain data) as JSON, with the X-Consul headers of `meta` when it was a read."""
    return json_bytes_reply(request, codec.to_json(value), meta, status=status)


def json_bytes_reply(
    request: ApiRequest, data: bytes, meta: QueryMeta | None = None, *, status: int = 200
) -> web.Response:
    """As `json_reply`, of JSON that is encoded already; `?pretty` lays it out for people."""
    if request.query.flag("pretty"):
        data = msgspec.json.format(data, indent=4) + b"\n"
    response = web.Response(body=data, status=status, content_type="application/json")
    if meta is not None:
        set_meta(response, meta)
    return response


def text_reply(text: str, status: int = 200) -> web.Response:
    """Plain text."""
    return web.Response(text=text, status=status, content_type="text/plain", charset="utf-8")


def missing_reply(text: str, meta: QueryMeta) -> web.Response:
    """404 with the headers of the read that found nothing, so that a client can block until there is something."""
    response = text_reply(text, 404)
    set_meta(response, meta)
    return response


def empty_reply() -> web.Response:
    """200 without a body, as Consul answers most agent PUTs; nothing that is empty says it is JSON."""
    return web.Response(text="", content_type="text/plain", charset="utf-8")


def set_meta(response: web.StreamResponse, meta: QueryMeta) -> None:
    """The X-Consul headers of a read. The index is never 0: a client would not block on it."""
    headers = response.headers
    headers["X-Consul-Index"] = str(max(1, meta.index))
    headers["X-Consul-KnownLeader"] = "true" if meta.known_leader else "false"
    headers["X-Consul-LastContact"] = str(meta.last_contact_ms)
    headers["X-Consul-Effective-Consistency"] = meta.consistency
    headers["X-Consul-Query-Backend"] = "blocking-query"
