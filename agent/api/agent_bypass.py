"""`/v1/agent/bypass`: break glass on this host, where no server is left to write a service-bypass entry to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from chowk.agent.api.errors import HttpError, bad_request
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.proxies.bypasses import HostBypasses
from chowk.connect.ca.spiffe import check_service_name
from chowk.connect.snapshot import Bypass
from chowk.core.durations import parse_duration
from chowk.core.records.base import Record


class BypassBody(Record, frozen=True, kw_only=True):
    """The body of a PUT; `lasts` is a duration."""

    service: str = ""
    lasts: str = ""
    reason: str = ""
    by: str = ""


async def show(request: ApiRequest) -> web.Response:
    """The bypasses that are in force on this host."""
    return json_reply(request, [_shown(each) for each in _bypasses(request).active()])


async def begin(request: ApiRequest) -> web.Response:
    """Let connections to a service through on this host for a while."""
    body = await request.json_as(BypassBody)
    check_service_name(body.service)
    try:
        lasts_s = parse_duration(body.lasts)
    except ValueError:
        raise bad_request('Lasts: write a duration like "1h"') from None
    return json_reply(request, _shown(_bypasses(request).begin(body.service, lasts_s, body.reason, body.by)))


async def end(request: ApiRequest) -> web.Response:
    """End a bypass before its time; `true`."""
    _bypasses(request).end(request.part("service", "Missing service name"), request.query.get("by"))
    return json_reply(request, True)


def _bypasses(request: ApiRequest) -> HostBypasses:
    if request.context.proxies is None:
        raise HttpError(404, "this agent runs no sidecars (connect is off)")
    return request.context.proxies.bypasses


def _shown(bypass: Bypass) -> dict[str, Any]:
    expires = datetime.fromtimestamp(int(bypass.expires_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"Service": bypass.service, "Expires": expires, "Reason": bypass.reason, "By": bypass.by}


ROUTES: Final = (
    Route(("GET",), "/v1/agent/bypass", show, "agent:read"),
    Route(("PUT",), "/v1/agent/bypass", begin, "mesh:write"),
    Route(("DELETE",), "/v1/agent/bypass/{service:.*}", end, "mesh:write"),
)
