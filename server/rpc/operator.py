"""Operator: who takes part in Raft, and what autopilot does. Changes of the membership are made where this server leads."""

from __future__ import annotations

from functools import partial
from typing import Final

from chowk.core.commands import SetAutopilot
from chowk.core.errors import InvalidRequest, NotFound
from chowk.core.operator_requests import (
    AUTOPILOT_CONFIGURATION,
    AUTOPILOT_CONFIGURE,
    AUTOPILOT_STATE,
    RAFT_REMOVE,
    RAFT_TRANSFER,
    AutopilotConfigurationReply,
    AutopilotState,
    RaftRemove,
    RaftTransfer,
)  # fmt: skip
from chowk.core.records.autopilot import AutopilotConfiguration
from chowk.core.requests import RAFT_CONFIGURATION, Empty, RaftConfigurationReply, RaftServer, Read, Write, WriteReply
from chowk.core.server_options import Autopilot
from chowk.server.rpc.context import ServerContext
from chowk.server.state.changed import AUTOPILOT

SERVERS_MAX: Final = 64
TIME_S_MAX: Final = 86_400.0
LOGS_MAX: Final = 2**31


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.gate.serve(RAFT_CONFIGURATION, partial(_configuration, context))
    context.leader.serve(RAFT_REMOVE, partial(_remove, context))
    context.leader.serve(RAFT_TRANSFER, partial(_transfer, context))
    context.gate.serve(AUTOPILOT_CONFIGURATION, partial(_autopilot, context))
    context.leader.serve(AUTOPILOT_CONFIGURE, partial(_set_autopilot, context))
    context.leader.serve(AUTOPILOT_STATE, partial(_state, context))


async def _configuration(context: ServerContext, _request: Empty) -> RaftConfigurationReply:
    index, servers = context.consensus.configuration()
    return RaftConfigurationReply(index=index, servers=servers)


async def _remove(context: ServerContext, request: RaftRemove) -> Empty:
    if bool(request.id) == bool(request.address):
        raise InvalidRequest("Must specify either ?id with the server's ID or ?address with IP:port of peer to remove")
    server = _find(context, "id", request.id) if request.id else _find(context, "address", request.address)
    await context.consensus.remove(server.id)
    return Empty()


async def _transfer(context: ServerContext, request: RaftTransfer) -> Empty:
    await context.consensus.transfer(_find(context, "id", request.id).id if request.id else "")
    return Empty()


def _find(context: ServerContext, what: str, value: str) -> RaftServer:
    _index, servers = context.consensus.configuration()
    for server in servers:
        if getattr(server, what) == value:
            return server
    raise NotFound(f'{what} "{value}" was not found in the Raft configuration')


async def _autopilot(context: ServerContext, request: Read) -> AutopilotConfigurationReply:
    meta, found = await context.reads.run(request.options, (AUTOPILOT,), lambda store: store.autopilot)
    own = AutopilotConfiguration(settings=context.options.autopilot)
    return AutopilotConfigurationReply(meta=meta, configuration=found or own)


async def _set_autopilot(context: ServerContext, write: Write) -> WriteReply:
    context.reads.check_datacenter(write.datacenter)
    context.writes.admit(write, (SetAutopilot,), AUTOPILOT_CONFIGURE.name)
    if isinstance(write.command, SetAutopilot):
        _check(write.command.settings)
    return await context.writes.propose(write.command, write.client, write.sequence)


async def _state(context: ServerContext, _request: Empty) -> AutopilotState:
    return context.autopilot.state()


def _check(settings: Autopilot) -> None:
    for name, seconds in (
        ("LastContactThreshold", settings.last_contact_threshold_s),
        ("ServerStabilizationTime", settings.server_stabilization_time_s),
    ):
        if not 0 <= seconds <= TIME_S_MAX:
            raise InvalidRequest(f"{name} must be between 0s and {TIME_S_MAX:g}s")
    if not 0 <= settings.max_trailing_logs <= LOGS_MAX:
        raise InvalidRequest(f"MaxTrailingLogs must be between 0 and {LOGS_MAX}")
    if not 0 <= settings.min_quorum <= SERVERS_MAX:
        raise InvalidRequest(f"MinQuorum must be between 0 and {SERVERS_MAX}")
