"""`/v1/agent/check*`: the checks registered on this agent, and the reports of TTL checks."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.agent_bodies import decode_check_body, refuse_remote_scripts
from chowk.agent.api.agent_writes import applied
from chowk.agent.api.errors import bad_request
from chowk.agent.api.reads import filtered
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Handler, Route
from chowk.agent.api.turns import kept
from chowk.core.records.base import Record
from chowk.core.records.check import CRITICAL, PASSING, STATUSES, WARNING, HealthCheck


class CheckUpdate(Record, frozen=True, kw_only=True):
    """The body of `check/update`."""

    status: str = ""
    output: str = ""


async def checks(request: ApiRequest) -> web.Response:
    """All checks by id; `?filter`."""
    records = [entry.check for _id, entry in sorted(request.context.local.checks.items())]
    rows = await kept(records, filtered(request, HealthCheck))
    return json_reply(request, {check.check_id: check for check in rows})


async def register(request: ApiRequest) -> web.Response:
    """Register a check of the node, or with ServiceID of a service here."""
    definition = decode_check_body(await request.json())
    refuse_remote_scripts(request.context.config().checks_config, definition)
    request.context.local.register_check(definition, "api")
    return applied(request)


async def deregister(request: ApiRequest) -> web.Response:
    """Remove a check."""
    request.context.local.deregister_check(request.part("id", "Missing check ID"))
    return applied(request)


def _report(status: str) -> Handler:
    async def report(request: ApiRequest) -> web.Response:
        """The application says how it is; `?note=` becomes the check's output."""
        check_id = request.part("id", "Missing check ID")
        request.context.checks.heartbeat(check_id, status, request.query.get("note"))
        return applied(request)

    return report


async def update(request: ApiRequest) -> web.Response:
    """As pass, warn and fail, with {Status, Output} in the body."""
    check_id = request.part("id", "Missing check ID")
    body = await request.json_as(CheckUpdate)
    if body.status not in STATUSES:
        raise bad_request(f"Invalid check status: '{body.status}'")
    request.context.checks.heartbeat(check_id, body.status, body.output)
    return applied(request)


ROUTES: Final = (
    Route(("GET",), "/v1/agent/checks", checks, "node:read"),
    Route(("PUT",), "/v1/agent/check/register", register, "service:write"),
    Route(("PUT",), "/v1/agent/check/deregister/{id:.*}", deregister, "service:write"),
    Route(("PUT",), "/v1/agent/check/pass/{id:.*}", _report(PASSING), "service:write"),
    Route(("PUT",), "/v1/agent/check/warn/{id:.*}", _report(WARNING), "service:write"),
    Route(("PUT",), "/v1/agent/check/fail/{id:.*}", _report(CRITICAL), "service:write"),
    Route(("PUT",), "/v1/agent/check/update/{id:.*}", update, "service:write"),
)
