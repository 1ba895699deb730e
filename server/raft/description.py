"""What people and other rooms are told of the core: a line to read, and how far each server is. Called by `core.Raft`."""

from __future__ import annotations

import msgspec

from chowk.server.raft.records import Configuration
from chowk.server.raft.state import RaftState, Role


class PeerProgress(msgspec.Struct, frozen=True):
    """What a leader knows of another server: `match` is durable there, `next` is sent next, `contact_s` is when it was
    last heard on the core's clock (when it was added, before that), `pace` is probe, replicate or snapshot, `relapses` how
    often it had lost what it acknowledged."""

    match: int
    next: int
    contact_s: float
    pace: str
    inflight: int
    relapses: int = 0


def progress(state: RaftState) -> dict[str, PeerProgress]:
    """Of every other member, learners too; empty on who does not lead."""
    if state.role is not Role.LEADER:
        return {}
    return {
        peer: PeerProgress(known.match, known.next, known.contact_s, str(known.pace), known.inflight, known.relapses)
        for peer, known in sorted(state.progress.items())
    }


def describe(state: RaftState, now: float | None = None) -> str:
    """One line, for traces and for the log. With `now`, also how long ago each server was heard."""
    snapshot = state.snapshot.index if state.snapshot is not None else 0
    parts = [
        f"{state.id} {state.role} term {state.term}",
        f"vote {state.hard_state.vote or '-'}",
        f"leader {state.leader or '-'}",
        f"log {state.log.anchor_index}..{state.log.last_index} (term {state.log.last_term})",
        f"durable {state.durability.durable_index} commit {state.commit} applied {state.applied} snapshot {snapshot}",
        _members(state.configurations.latest, state.configurations.latest_index),
    ]
    if state.transfer_target:
        parts.append(f"handing over to {state.transfer_target}")
    if state.waiting_reads:
        parts.append(f"{len(state.waiting_reads)} reads wait")
    if state.role is Role.LEADER:
        parts.append(f"uncommitted {state.uncommitted_bytes} B")
        parts += [_peer(peer, known, now) for peer, known in progress(state).items()]
    return "; ".join(parts)


def _members(configuration: Configuration, index: int) -> str:
    names = " ".join(member.id if member.voter else f"({member.id})" for member in configuration.members)
    return f"members {names or '-'} @{index}"


def _peer(peer: str, known: PeerProgress, now: float | None) -> str:
    heard = f", heard {now - known.contact_s:.3f} s ago" if now is not None else ""
    return f"{peer} {known.pace} match {known.match} next {known.next} inflight {known.inflight}{heard}"
