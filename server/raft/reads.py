"""Read indexes: what a read must see, confirmed by a majority (dissertation 6.4). Functions on `RaftState`.

Reads are batched on both sides: on the leader one round is under way for all that wait, and what comes meanwhile rides on
the next; a follower has one question under way. A lost round is made good by the next heartbeat, a lost question by another.
"""

from __future__ import annotations

from typing import Final

from chowk.server.raft import replication
from chowk.server.raft.effects import ReadState
from chowk.server.raft.messages import ReadIndexRequest, ReadIndexResponse
from chowk.server.raft.state import RaftState, Role
from chowk.server.raft.waiting import WaitingRead

PATIENCE_HEARTBEATS: Final = 2
"""After this many heartbeats without an answer a follower asks again."""


def request(state: RaftState, server: str, context: int) -> None:
    """A read asked here (`server` "") or by another server. It is begun by `advance`."""
    if state.role is Role.LEADER and len(state.waiting_reads) < state.settings.waiting_reads_max:
        state.waiting_reads.append(WaitingRead(server, context))
    elif server:
        _answer(state, server, context, 0)
    elif state.role is not Role.LEADER and state.leader and len(state.forwarded) < state.settings.waiting_reads_max:
        state.forwarded.add(context)
    else:
        state.read_states.append(ReadState(context, None))


def answered(state: RaftState, message: ReadIndexResponse) -> None:
    """The leader's answer to a follower's question."""
    contexts = state.forwarded.answered(message.context)
    state.read_states += [ReadState(context, message.index or None) for context in contexts]


def advance(state: RaftState, now: float) -> None:
    """Begin what may begin: on a leader a round, if reads wait for one and none is under way; elsewhere a question."""
    if state.role is not Role.LEADER:
        if state.leader and state.forwarded.ask(now, PATIENCE_HEARTBEATS * state.settings.heartbeat_s):
            question = state.forwarded.question
            state.send_early(ReadIndexRequest(sender=state.id, target=state.leader, term=state.term, context=question))
        return
    if not state.has_led or not state.waiting_reads:
        return
    if state.voters == (state.id,):
        ride(state)  # none will answer: a read that rode a heartbeat's round is confirmed here, too
    elif state.waiting_reads[0].round:
        return
    else:
        replication.heartbeat(state, now)
    confirm(state)


def ride(state: RaftState) -> None:
    """A round begins: the reads that wait for one are confirmed by it, and must see what is committed now."""
    if state.has_led:
        for read in reversed(state.waiting_reads):
            if read.round:
                return
            read.index, read.round = state.commit, state.round


def confirm(state: RaftState) -> None:
    """Release the reads whose round a majority has answered: no other leader can have committed before they were asked."""
    rounds: dict[str, float] = {server: progress.round for server, progress in state.progress.items()}
    confirmed = state.quorum_value({**rounds, state.id: state.round})
    state.lease.confirmed(confirmed)
    while state.waiting_reads and 0 < state.waiting_reads[0].round <= confirmed:
        read = state.waiting_reads.popleft()
        if read.server:
            _answer(state, read.server, read.context, read.index)
        else:
            state.read_states.append(ReadState(read.context, read.index))


def _answer(state: RaftState, server: str, context: int, index: int) -> None:
    state.send_early(ReadIndexResponse(sender=state.id, target=server, term=state.term, context=context, index=index))
