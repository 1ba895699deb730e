"""Status: who leads, counters."""

from __future__ import annotations

from functools import partial

from chowk.core.requests import (
    STATUS_LEADER,
    STATUS_STATS,
    Empty,
    LeaderReply,
    ServerStatsReply,
)  # fmt: skip
from chowk.server.rpc.context import ServerContext


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.gate.serve(STATUS_LEADER, partial(_leader, context))
    context.gate.serve(STATUS_STATS, partial(_stats, context))


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
    raft, loop = context.consensus.stats(), context.lag.stats()
    return ServerStatsReply(stats={"consul": server, "raft": raft, "catalog": catalog, "server_loop": loop})
