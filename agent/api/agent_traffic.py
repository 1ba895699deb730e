"""`/v1/agent/traffic` and `/v1/agent/tap`: what the sidecars of this host carry now, in figures and request by request.

They show names of services, methods and paths; never a query, a header or a body. For `chowk stat`, `top` and `tap`.
"""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from chowk.agent.api.errors import HttpError, bad_request
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.proxies.supervisor import ProxySupervisor
from chowk.agent.proxies.taps import TAPS_MAX
from chowk.agent.proxies.traffic import WINDOW_S_MAX
from chowk.connect.stats.edges import INBOUND, OUTBOUND
from chowk.connect.stats.observation import RequestFilter, json_line

WINDOW_S: Final = 10.0
TAP_S: Final = 600.0
TAP_S_MAX: Final = 3600.0
PER_S: Final = 100
PER_S_MAX: Final = 1000
SIGN_OF_LIFE_S: Final = 5.0
"""A tap that sees nothing sends an empty line so often: so a reader that is gone is noticed."""


async def traffic(request: ApiRequest) -> web.Response:
    """Rates by edge and by peer over `?window=` (10s, at most 60s), of the sidecars of `?service=`, or of all; and which
    instances get no requests from them now.
    """
    proxies = _proxies(request)
    window_s = request.query.duration_s("window")
    window_s = WINDOW_S if window_s is None else window_s
    if not 1.0 <= window_s <= WINDOW_S_MAX:
        raise bad_request(f"Invalid value for ?window: between 1s and {WINDOW_S_MAX:.0f}s")
    service, now = request.query.get("service"), request.context.clock.now()
    edges = [each for each in proxies.traffic.edges(window_s, now) if service in ("", each.service)]
    connections = [each for each in proxies.traffic.connections(window_s, now) if service in ("", each.service)]
    return json_reply(
        request,
        {
            "WindowS": window_s,
            "Edges": msgspec.to_builtins(edges),
            "Connections": msgspec.to_builtins(connections),
            "LeftOut": [
                {
                    "ProxyID": proxy.proxy_id,
                    "Service": proxy.service,
                    "Upstream": upstream.name,
                    "Instance": each.instance,
                    "Address": each.address,
                    "Port": each.port,
                    "Why": each.why,
                }
                for proxy in proxies.status()
                if proxy.report is not None and service in ("", proxy.service)
                for upstream in proxy.report.upstreams
                for each in upstream.left_out
            ],
        },
    )


async def tap(request: ApiRequest) -> web.StreamResponse:
    """Requests as they end, one JSON object a line, until `?for=` (10m, at most 1h) is over or the reader goes.

    `?service=` picks sidecars; `?direction=`, `?peer=`, `?method=`, `?path=` (a prefix) and `?status=` (2 or 2xx) pick
    requests; `?rate=` (100) is the most that one sidecar tells a second. What is over it is told as `missed`.
    """
    proxies = _proxies(request)
    wanted = _filter(request)
    rate = request.query.number("rate")
    per_s = PER_S if rate is None else rate
    if not 1 <= per_s <= PER_S_MAX:
        raise bad_request(f"Invalid value for ?rate: between 1 and {PER_S_MAX}")
    seconds = request.query.duration_s("for")
    seconds = TAP_S if seconds is None else seconds
    if not 0 < seconds <= TAP_S_MAX:
        raise bad_request(f"Invalid value for ?for: more than 0s, at most {TAP_S_MAX:.0f}s")
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    if request.http.method == "HEAD":
        await response.prepare(request.http)
        return response
    reader = proxies.taps.open(request.query.get("service"), wanted, per_s, seconds)
    if reader is None:
        raise HttpError(429, f"{TAPS_MAX} taps are open already")
    clock = request.context.clock
    try:
        await response.prepare(request.http)
        while (left_s := reader.tap.ends_s - clock.wall()) > 0:
            found, missed = await reader.read(min(left_s, SIGN_OF_LIFE_S))
            lines = [json_line(each) for each in found]
            if missed:
                lines.append(msgspec.json.encode({"missed": missed}) + b"\n")
            await response.write(b"".join(lines) or b"\n")
    except ConnectionError:
        return response
    finally:
        proxies.taps.close(reader)
    await response.write_eof()
    return response


def _proxies(request: ApiRequest) -> ProxySupervisor:
    if request.context.proxies is None:
        raise HttpError(404, "this agent runs no sidecars (connect is off)")
    return request.context.proxies


def _filter(request: ApiRequest) -> RequestFilter:
    query = request.query
    direction, status = query.get("direction"), query.get("status").removesuffix("xx")
    if direction not in ("", INBOUND, OUTBOUND):
        raise bad_request(f"Invalid value for ?direction: {INBOUND} or {OUTBOUND}")
    if status and status not in ("1", "2", "3", "4", "5"):
        raise bad_request("Invalid value for ?status: a class, as in 5 or 5xx")
    return RequestFilter(
        direction=direction,
        peer=query.get("peer"),
        method=query.get("method").upper(),
        path_prefix=query.get("path"),
        status=int(status or 0),
    )


ROUTES: Final = (
    Route(("GET",), "/v1/agent/traffic", traffic, "agent:read"),
    Route(("GET",), "/v1/agent/tap", tap, "agent:read"),
)
