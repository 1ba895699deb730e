"""What people are told of consensus. Used by `driver.engine`."""

from __future__ import annotations

from chowk.core.requests import RaftServer
from chowk.server.raft.core import Raft


def counters(core: Raft, applied: int, last_contact_s: float, *, failed: bool) -> dict[str, str]:
    """Counters under Consul's names."""
    snapshot = core.snapshot
    return {
        "state": str(core.role) if not failed else "Failed",
        "term": str(core.term),
        "applied_index": str(applied),
        "commit_index": str(core.commit_index),
        "fsm_pending": str(core.commit_index - applied),
        "last_contact": f"{last_contact_s * 1000:.0f}ms" if last_contact_s else "0",
        "last_log_index": str(core.last_index),
        "last_log_term": str(core.last_term),
        "last_snapshot_index": str(snapshot.index if snapshot is not None else 0),
        "last_snapshot_term": str(snapshot.term if snapshot is not None else 0),
        "latest_configuration_index": str(core.configuration_index),
        "num_peers": str(max(0, len(core.configuration.voters) - 1)),
    }


def servers(core: Raft) -> tuple[RaftServer, ...]:
    """The members of the configuration in force."""
    return tuple(
        RaftServer(
            id=member.id,
            node=member.node,
            address=member.address,
            leader=member.id == core.leader,
            voter=member.voter,
        )
        for member in core.configuration.members
    )
