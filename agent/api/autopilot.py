"""`/v1/operator/autopilot/*`: what the leader does about the servers by itself, and how it sees them, in Consul's shape."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiohttp import web

from chowk.agent.api.errors import bad_request
from chowk.agent.api.reads import read
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.core.commands import SetAutopilot
from chowk.core.durations import format_duration, parse_duration
from chowk.core.operator_requests import (
    AUTOPILOT_CONFIGURATION,
    AUTOPILOT_CONFIGURE,
    AUTOPILOT_STATE,
    AutopilotState,
    ServerHealth,
)  # fmt: skip
from chowk.core.records.base import Record
from chowk.core.requests import Empty, Read
from chowk.core.server_options import Autopilot

CONFIGURATION: Final = "/v1/operator/autopilot/configuration"


class ConfigurationBody(Record, frozen=True, kw_only=True):
    """The body of a PUT: what is left out stays as it is. Durations are texts, or Go's nanoseconds."""

    cleanup_dead_servers: bool | None = None
    last_contact_threshold: str | int | None = None
    max_trailing_logs: int | None = None
    min_quorum: int | None = None
    server_stabilization_time: str | int | None = None
    redundancy_zone_tag: str = ""
    disable_upgrade_migration: bool = False
    upgrade_version_tag: str = ""
    create_index: int = 0
    modify_index: int = 0


async def configuration(request: ApiRequest) -> web.Response:
    """The settings in force."""
    reply = await read(request, AUTOPILOT_CONFIGURATION, Read())
    settings = reply.configuration.settings
    shown = {
        "CleanupDeadServers": settings.cleanup_dead_servers,
        "LastContactThreshold": format_duration(settings.last_contact_threshold_s),
        "MaxTrailingLogs": settings.max_trailing_logs,
        "MinQuorum": settings.min_quorum,
        "ServerStabilizationTime": format_duration(settings.server_stabilization_time_s),
        "RedundancyZoneTag": "",
        "DisableUpgradeMigration": False,
        "UpgradeVersionTag": "",
        "CreateIndex": reply.configuration.create_index,
        "ModifyIndex": reply.configuration.modify_index,
    }
    return json_reply(request, shown, reply.meta)


async def configure(request: ApiRequest) -> web.Response:
    """Replace the settings; with `?cas=INDEX` only those of that ModifyIndex. `true`, or `false` when that was lost."""
    body = await request.json_as(ConfigurationBody)
    for name, value in (
        ("RedundancyZoneTag", body.redundancy_zone_tag),
        ("DisableUpgradeMigration", body.disable_upgrade_migration),
        ("UpgradeVersionTag", body.upgrade_version_tag),
    ):
        if value:
            raise bad_request(f"{name} is not supported")
    cas = request.query.cas("Error parsing cas value: not a whole number")
    now = await request.context.client.call(AUTOPILOT_CONFIGURATION, Read())
    settings = _merged(now.configuration.settings, body)
    write = request.context.client.next_write(SetAutopilot(settings=settings, cas=cas), token=request.token)
    reply = await request.context.client.call(AUTOPILOT_CONFIGURE, write)
    return json_reply(request, reply.ok)


def _merged(now: Autopilot, body: ConfigurationBody) -> Autopilot:
    given = {
        "cleanup_dead_servers": body.cleanup_dead_servers,
        "last_contact_threshold_s": _seconds("LastContactThreshold", body.last_contact_threshold),
        "max_trailing_logs": body.max_trailing_logs,
        "min_quorum": body.min_quorum,
        "server_stabilization_time_s": _seconds("ServerStabilizationTime", body.server_stabilization_time),
    }
    return msgspec.structs.replace(now, **{name: value for name, value in given.items() if value is not None})


def _seconds(name: str, value: str | int | None) -> float | None:
    if value is None or isinstance(value, int):
        return None if value is None else value / 1e9
    try:
        return parse_duration(value)
    except ValueError as error:
        raise bad_request(f"{name}: {error}") from None


async def health(request: ApiRequest) -> web.Response:
    """How the servers are: 200 when all are well, else 429."""
    state = await request.context.client.call(AUTOPILOT_STATE, Empty())
    shown = {
        "Healthy": state.healthy,
        "FailureTolerance": state.failure_tolerance,
        "Servers": [
            {
                "ID": server.id,
                "Name": server.node,
                "Address": server.address,
                "SerfStatus": server.status,
                "Version": server.version,
                "Leader": server.leader,
                "LastContact": _contact(server),
                "LastTerm": server.last_term,
                "LastIndex": server.last_index,
                "Healthy": server.healthy,
                "Voter": server.voter,
                "StableSince": _time(server.stable_since),
            }
            for server in state.servers
        ],
    }
    return json_reply(request, shown, status=200 if state.healthy else 429)


async def state(request: ApiRequest) -> web.Response:
    """Everything that autopilot knows of the servers."""
    return json_reply(request, _shown(await request.context.client.call(AUTOPILOT_STATE, Empty())))


def _shown(state: AutopilotState) -> dict[str, Any]:
    return {
        "Healthy": state.healthy,
        "FailureTolerance": state.failure_tolerance,
        "OptimisticFailureTolerance": state.failure_tolerance,
        "Servers": {
            server.id: {
                "ID": server.id,
                "Name": server.node,
                "Address": server.address,
                "NodeStatus": server.status,
                "Version": server.version,
                "LastContact": _contact(server),
                "LastTerm": server.last_term,
                "LastIndex": server.last_index,
                "Healthy": server.healthy,
                "StableSince": _time(server.stable_since),
                "ReadReplica": False,
                "Status": "leader" if server.leader else "voter" if server.voter else "non-voter",
                "Meta": {},
                "NodeType": "voter",
            }
            for server in state.servers
        },
        "Leader": next((server.id for server in state.servers if server.leader), ""),
        "Voters": [server.id for server in state.servers if server.voter],
    }


def _contact(server: ServerHealth) -> str:
    return format_duration(server.last_contact_ms / 1000) if server.last_contact_ms >= 0 else "never"


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


ROUTES: Final = (
    Route(("GET",), CONFIGURATION, configuration, "operator:read"),
    Route(("PUT",), CONFIGURATION, configure, "operator:write"),
    Route(("GET",), "/v1/operator/autopilot/health", health, "operator:read"),
    Route(("GET",), "/v1/operator/autopilot/state", state, "operator:read"),
)
