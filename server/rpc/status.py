"""Status and Operator: who leads, who is a member, counters."""

from __future__ import annotations

from functools import partial

from chowk.core.requests import (
    RAFT_CONFIGURATION,
    STATUS_LEADER,
    STATUS_STATS,
    Empty,
    LeaderReply,
    RaftConfigurationReply,
    ServerStatsReply,
)  # fmt: skip
from chowk.server.rpc.context import ServerContext


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.gate.serve(STATUS_LEADER, partial(_leader, context))
    context.gate.serve(STATUS_STATS, partial(_stats, context))
    context.gate.serve(RAFT_CONFIGURATION, partial(_configuration, context))


async def _leader(context: ServerContext, _request: Empty) -> LeaderReply:
    _index, servers = context.consensus.configuration()
    return LeaderReply(leader=context.consensus.leader, peers=tuple(sorted(server.address for server in servers)))


async def _stats(context: ServerContext, _request: Empty) -> ServerStatsReply:
    store = context.machine.store
    server = {
        "leader": str(context.consensus.is_leader).lower(),
        "leader_addr": context.consensus.leader,
        "bootstrap": "true",
        "known_datacenters": "1",
    }
    catalog = {
        "nodes": str(len(store.nodes)),
        "services": str(len(store.services)),
        "checks": str(len(store.checks)),
        "config_entries": str(len(store.entries)),
        "subscriptions": str(len(context.publisher)),
    }
    return ServerStatsReply(stats={"consul": server, "raft": context.consensus.stats(), "catalog": catalog})


async def _configuration(context: ServerContext, _request: Empty) -> RaftConfigurationReply:
    index, servers = context.consensus.configuration()
    return RaftConfigurationReply(index=index, servers=servers)
