"""Members: what the agent of this host tells its server about the cluster."""

from __future__ import annotations

from functools import partial

from chowk.core.cluster_requests import (
    CLUSTER,
    KEYS_REPORT,
    MEMBERS_REPORT,
    ClusterReply,
    KeysReport,
    MembersReport,
)
from chowk.core.requests import Empty
from chowk.server.rpc.context import ServerContext


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.gate.serve(MEMBERS_REPORT, partial(_members, context))
    context.gate.serve(KEYS_REPORT, partial(_keys, context))
    context.gate.serve(CLUSTER, partial(_cluster, context))


async def _members(context: ServerContext, report: MembersReport) -> Empty:
    context.board.report(report, context.consensus.cluster)
    return Empty()


async def _keys(context: ServerContext, report: KeysReport) -> Empty:
    context.board.set_keys(report.keys)
    return Empty()


async def _cluster(context: ServerContext, _: Empty) -> ClusterReply:
    return ClusterReply(id=context.consensus.cluster)
