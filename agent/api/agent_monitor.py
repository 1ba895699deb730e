"""`GET /v1/agent/monitor`: the log, line by line, as it is written."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.errors import HttpError, bad_request
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.log_stream import FOLLOWERS_MAX, LOG_STREAM
from chowk.core.runtime.logging import LEVELS


async def monitor(request: ApiRequest) -> web.StreamResponse:
    """Stream until the reader goes. `?loglevel=` (info) may be finer than the agent's own; `?logjson` gives JSON lines."""
    level = request.query.get("loglevel", "info").lower() or "info"
    if level not in LEVELS:
        raise bad_request(f"Unknown log level: {level}")
    as_json = request.query.flag("logjson")
    response = web.StreamResponse(
        headers={"Content-Type": "application/json" if as_json else "text/plain; charset=utf-8"}
    )
    if request.http.method == "HEAD":
        await response.prepare(request.http)
        return response
    own_level = request.context.config().log_level
    follower = LOG_STREAM.follow(level, json=as_json, own_level=own_level)
    if follower is None:
        raise HttpError(429, f"{FOLLOWERS_MAX} readers follow the log already")
    try:
        await response.prepare(request.http)
        while True:
            await response.write((await follower.read()).encode())
    except ConnectionError:
        return response
    finally:
        LOG_STREAM.leave(follower)


ROUTES: Final = (Route(("GET",), "/v1/agent/monitor", monitor, "agent:read"),)
