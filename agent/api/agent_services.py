"""`/v1/agent/service*` and `/v1/agent/health/service/*`: the services registered on this agent.

Reads answer from memory. Writes change the local state, which is remembered on disk before the answer, and wake the sync.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web

from chowk.agent.api.agent_bodies import decode_service_body, refuse_remote_scripts
from chowk.agent.api.agent_records import (
    HEALTH_STATUS_CODES,
    AgentService,
    agent_service,
    checks_of,
    health_info,
    plain_service,
)
from chowk.agent.api.agent_writes import applied, asked_enable
from chowk.agent.api.context import ApiContext
from chowk.agent.api.errors import not_found
from chowk.agent.api.query import wait_of
from chowk.agent.api.reads import filtered
from chowk.agent.api.replies import json_reply, text_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.shared_reads import JITTER_PART
from chowk.agent.api.turns import kept
from chowk.core.records.check import CRITICAL, PASSING, worst_status


async def services(request: ApiRequest) -> web.Response:
    """All services by id; `?filter`."""
    context = request.context
    datacenter = context.config().datacenter
    records = [agent_service(entry.service, datacenter) for _id, entry in sorted(context.local.services.items())]
    rows = await kept(records, filtered(request, AgentService))
    return json_reply(request, {record.id: plain_service(record) for record in rows})


async def service(request: ApiRequest) -> web.Response:
    """One service. `?hash=` of its ContentHash waits until it differs, `?wait` at most."""
    service_id = request.part("id", "Missing service ID")
    known = request.query.get("hash")
    record = _find(request.context, service_id)
    if known and record is not None and record.content_hash == known:
        wait_s = wait_of(request.query, request.context.config().http)
        record = await _wait_changed(request.context, service_id, known, wait_s)
    if record is None:
        raise not_found(f"unknown service ID: {service_id}")
    response = json_reply(request, plain_service(record))
    response.headers["X-Consul-ContentHash"] = record.content_hash
    return response


def _find(context: ApiContext, service_id: str) -> AgentService | None:
    entry = context.local.services.get(service_id)
    return None if entry is None else agent_service(entry.service, context.config().datacenter)


async def _wait_changed(context: ApiContext, service_id: str, known: str, wait_s: float) -> AgentService | None:
    changed = asyncio.Event()
    remove = context.local.on_change(changed.set)
    try:
        async with asyncio.timeout(wait_s * (1 + context.rng.random() / JITTER_PART)):
            while True:
                record = _find(context, service_id)
                if record is None or record.content_hash != known:
                    return record
                await changed.wait()
                changed.clear()
    except TimeoutError:
        return _find(context, service_id)
    finally:
        remove()


async def health_by_id(request: ApiRequest) -> web.Response:
    """One instance's health as a status code: 200 passing, 429 warning, 503 critical or in maintenance, 404 unknown."""
    service_id = request.part("id", "Missing serviceID")
    record = _find(request.context, service_id)
    if record is None:
        if _wants_text(request):
            return text_reply(f"ServiceId {service_id} not found", 404)
        nothing: dict[str, Any] = {"AggregatedStatus": CRITICAL, "Service": None, "Checks": []}
        return json_reply(request, nothing, status=404)
    info = _health(request.context, record)
    status = info["AggregatedStatus"]
    if _wants_text(request):
        return text_reply(status, HEALTH_STATUS_CODES[status])
    return json_reply(request, info, status=HEALTH_STATUS_CODES[status])


async def health_by_name(request: ApiRequest) -> web.Response:
    """The health of this agent's instances of a service; the worst one decides the status code."""
    name = request.part("name", "Missing service Name")
    context = request.context
    found = [
        _health(context, agent_service(entry.service, context.config().datacenter))
        for _id, entry in sorted(context.local.services.items())
        if entry.service.service == name
    ]
    if not found:
        return (
            text_reply(f"ServiceName {name} Not Found", 404)
            if _wants_text(request)
            else json_reply(request, [], status=404)
        )
    worst = _worst(info["AggregatedStatus"] for info in found)
    code = HEALTH_STATUS_CODES[worst]
    return text_reply(worst, code) if _wants_text(request) else json_reply(request, found, status=code)


def _health(context: ApiContext, record: AgentService) -> dict[str, Any]:
    checks = checks_of(record.id, {key: entry.check for key, entry in context.local.checks.items()})
    return health_info(worst_status(checks), record, checks)


def _worst(statuses: Iterable[str]) -> str:
    order = list(HEALTH_STATUS_CODES)
    return max(statuses, key=order.index, default=PASSING)


def _wants_text(request: ApiRequest) -> bool:
    return request.query.get("format") == "text"


async def register(request: ApiRequest) -> web.Response:
    """Register a service with its checks and its sidecar. `?replace-existing-checks` drops the checks it had before."""
    definition = decode_service_body(await request.json())
    refuse_remote_scripts(request.context.config().checks_config, definition)
    replace = request.query.truth("replace-existing-checks")
    local = request.context.local
    local.register_service(definition, "api", replace_existing_checks=replace)
    return applied(request)


async def deregister(request: ApiRequest) -> web.Response:
    """Remove a service, its checks and its sidecar."""
    service_id = request.part("id", "Missing service ID")
    request.context.local.deregister_service(service_id)
    return applied(request)


async def maintenance(request: ApiRequest) -> web.Response:
    """`?enable=true|false&reason=`: take an instance out of rotation, or back."""
    service_id = request.part("id", "Missing service ID")
    enable, reason = asked_enable(request)
    request.context.local.set_service_maintenance(service_id, enable, reason)
    return applied(request)


ROUTES: Final = (
    Route(("GET",), "/v1/agent/services", services, "service:read"),
    Route(("PUT",), "/v1/agent/service/register", register, "service:write"),
    Route(("PUT",), "/v1/agent/service/deregister/{id:.*}", deregister, "service:write"),
    Route(("PUT",), "/v1/agent/service/maintenance/{id:.*}", maintenance, "service:write"),
    Route(("GET",), "/v1/agent/service/{id:.*}", service, "service:read"),
    Route(("GET",), "/v1/agent/health/service/id/{id:.*}", health_by_id, "service:read"),
    Route(("GET",), "/v1/agent/health/service/name/{name:.*}", health_by_name, "service:read"),
)
