"""`/v1/health/*`: instances with their checks, and checks by node, service and state. All of them block."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api import instances
from chowk.agent.api.errors import bad_request
from chowk.agent.api.reads import filtered, matches_meta, read
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.turns import kept
from chowk.agent.api.variants import HEALTH
from chowk.core.records.check import STATUSES, HealthCheck
from chowk.core.requests import (
    HEALTH_NODE_CHECKS,
    HEALTH_SERVICE_CHECKS,
    HEALTH_STATE_CHECKS,
    ChecksReply,
    Method,
    Read,
)

STATES: Final = ("any", *STATUSES)


async def service(request: ApiRequest) -> web.Response:
    """The instances of a service, each with its node and checks."""
    return await instances.rows(request, HEALTH, connect=False)


async def connect(request: ApiRequest) -> web.Response:
    """The mesh-capable instances of a service: its sidecars and native ones."""
    return await instances.rows(request, HEALTH, connect=True)


async def node(request: ApiRequest) -> web.Response:
    """All checks of a node and its services."""
    return await _checks(request, HEALTH_NODE_CHECKS, request.part("node", "Missing node name"))


async def checks(request: ApiRequest) -> web.Response:
    """The checks of a service's instances."""
    return await _checks(request, HEALTH_SERVICE_CHECKS, request.part("service", "Missing service name"))


async def state(request: ApiRequest) -> web.Response:
    """The checks in a state, or in `any`."""
    wanted = request.part("state", "Missing check state")
    if wanted not in STATES:
        raise bad_request(f'Invalid check state "{wanted[:64]}": use one of {", ".join(STATES)}')
    return await _checks(request, HEALTH_STATE_CHECKS, wanted)


async def _checks(request: ApiRequest, method: Method[Read, ChecksReply], name: str) -> web.Response:
    keep = filtered(request, HealthCheck)
    reply = await read(request, method, Read(name=name))
    meta = request.query.node_meta()
    nodes = {row.node for row in reply.nodes if matches_meta(meta, row)}
    rows = [check for check in await kept(reply.checks, keep) if not meta or check.node in nodes]
    return json_reply(request, rows, reply.meta)


ROUTES: Final = (
    Route(("GET",), "/v1/health/service/{service:.*}", service, "service:read"),
    Route(("GET",), "/v1/health/connect/{service:.*}", connect, "service:read"),
    Route(("GET",), "/v1/health/node/{node:.*}", node, "node:read"),
    Route(("GET",), "/v1/health/checks/{service:.*}", checks, "service:read"),
    Route(("GET",), "/v1/health/state/{state:.*}", state, "node:read"),
)
