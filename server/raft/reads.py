"""Read indexes: what a read must see, confirmed by a majority (dissertation 6.4). Functions on `RaftState`.

No lease is trusted with a read: a leader that was paused would not know that its lease ended.
"""

from __future__ import annotations

from chowk.server.raft import replication
from chowk.server.raft.effects import ReadState
from chowk.server.raft.messages import ReadIndexRequest, ReadIndexResponse
from chowk.server.raft.state import RaftState, Role, WaitingRead


def request(state: RaftState, server: str, context: int, now: float) -> None:
    """A read asked here (`server` "") or by another server."""
    if state.role is not Role.LEADER:
        _ask_leader(state, server, context)
        return
    if len(state.waiting_reads) >= state.settings.waiting_reads_max:
        _refuse(state, server, context)
        return
    if not state.has_led:
        state.waiting_reads.append(WaitingRead(server, context, 0, 0))
        return
    _begin(state, [WaitingRead(server, context, 0, 0)], now)


def _ask_leader(state: RaftState, server: str, context: int) -> None:
    if server or not state.leader:
        _refuse(state, server, context)
        return
    state.send(ReadIndexRequest(sender=state.id, target=state.leader, term=state.term, context=context))


def _refuse(state: RaftState, server: str, context: int) -> None:
    if server:
        state.send(ReadIndexResponse(sender=state.id, target=server, term=state.term, context=context, index=0))
    else:
        state.read_states.append(ReadState(context, None))


def answered(state: RaftState, message: ReadIndexResponse) -> None:
    """The leader's answer to a follower's read."""
    state.read_states.append(ReadState(message.context, message.index or None))


def release_waiting(state: RaftState, now: float, *, had_led: bool) -> None:
    """The leader's first own entry was committed: now it knows the commit index, and reads that waited for that begin."""
    if state.has_led and not had_led:
        waiting = list(state.waiting_reads)
        state.waiting_reads.clear()
        if waiting:
            _begin(state, waiting, now)


def _begin(state: RaftState, waiting: list[WaitingRead], now: float) -> None:
    if state.voters != (state.id,):
        replication.heartbeat(state, now)
    for read in waiting:
        read.index, read.round = state.commit, state.round
    state.waiting_reads.extend(waiting)
    confirm(state)


def confirm(state: RaftState) -> None:
    """Release the reads whose round a majority has answered: no other leader can have committed before they were asked."""
    if not state.has_led:
        return
    rounds: dict[str, float] = {server: progress.round for server, progress in state.progress.items()}
    confirmed = state.quorum_value({**rounds, state.id: state.round})
    while state.waiting_reads and state.waiting_reads[0].round <= confirmed:
        read = state.waiting_reads.popleft()
        if read.server:
            state.send(
                ReadIndexResponse(
                    sender=state.id, target=read.server, term=state.term, context=read.context, index=read.index
                )
            )
        else:
            state.read_states.append(ReadState(read.context, read.index))
