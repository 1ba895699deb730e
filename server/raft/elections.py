"""How a leader is found: pre-vote, vote, lease (dissertation 3.4, 4.2.3, 9.6). Functions on `RaftState`."""

from __future__ import annotations

from chowk.server.raft import replication
from chowk.server.raft.lease import Lease
from chowk.server.raft.messages import PreVoteRequest, PreVoteResponse, TimeoutNow, VoteRequest, VoteResponse
from chowk.server.raft.progress import Progress
from chowk.server.raft.records import EntryKind
from chowk.server.raft.state import RaftState, Role


def campaign(state: RaftState, now: float) -> None:
    """The leader was not heard for too long. Ask first; alone, there is nobody to ask."""
    state.wait_for_election(now)
    if not state.may_stand or state.is_stalled(now):
        return
    if state.voters == (state.id,):
        stand(state, now, transfer=False)
        return
    state.become_follower(state.term, "", now)
    state.role = Role.PRE_CANDIDATE
    state.wait_for_answers(now)
    state.votes = {state.id: True}
    for peer in _other_voters(state):
        state.send(
            PreVoteRequest(
                sender=state.id,
                target=peer,
                term=state.term + 1,
                last_index=state.log.last_index,
                last_term=state.log.last_term,
            )
        )


def stand(state: RaftState, now: float, *, transfer: bool) -> None:
    """A real election in a new term. The own vote is a message too: it counts when it is durable, and in its term only."""
    state.become_follower(state.term, "", now)
    state.set_hard_state(state.term + 1, state.id)
    state.role = Role.CANDIDATE
    state.wait_for_answers(now)
    state.send(VoteResponse(sender=state.id, target=state.id, term=state.term, granted=True))
    for peer in _other_voters(state):
        state.send(
            VoteRequest(
                sender=state.id,
                target=peer,
                term=state.term,
                last_index=state.log.last_index,
                last_term=state.log.last_term,
                transfer=transfer,
            )
        )


def answer_pre_vote(state: RaftState, message: PreVoteRequest, now: float) -> None:
    """Say whether a vote would be given; nothing changes here."""
    granted = (
        message.term > state.term
        and not state.is_leased(now)
        and state.log.is_covered_by(message.last_index, message.last_term)
    )
    term = message.term if granted else state.term
    state.send(PreVoteResponse(sender=state.id, target=message.sender, term=term, granted=granted))


def answer_vote(state: RaftState, message: VoteRequest, now: float) -> None:
    """Vote at most once a term, only for a log that has all that may be committed of this one, and against no lease."""
    granted = (
        state.hard_state.vote in ("", message.sender)
        and state.leader in ("", message.sender)
        and (message.transfer or not state.is_leased(now))
        and state.log.is_covered_by(message.last_index, message.last_term)
    )
    if granted:
        state.become_follower(state.term, state.leader, now)
        state.set_hard_state(state.term, message.sender)
        state.wait_for_election(now)
    state.send(VoteResponse(sender=state.id, target=message.sender, term=state.term, granted=granted))


def count_pre_vote(state: RaftState, message: PreVoteResponse, now: float) -> None:
    """Stand when a majority would vote."""
    asked = state.term + 1 if message.granted else state.term
    if state.role is Role.PRE_CANDIDATE and message.term == asked:
        _count(state, message.sender, granted=message.granted)
        if _won(state):
            stand(state, now, transfer=False)
        elif _lost(state):
            state.become_follower(state.term, "", now)


def count_vote(state: RaftState, message: VoteResponse, now: float) -> None:
    """Lead when a majority voted."""
    if state.role is Role.CANDIDATE:
        _count(state, message.sender, granted=message.granted)
        if _won(state):
            _lead(state, now)
        elif _lost(state):
            state.become_follower(state.term, "", now)


def _count(state: RaftState, voter: str, *, granted: bool) -> None:
    """A vote once given stays given, whatever the voter answers to a repeated request."""
    state.votes[voter] = state.votes.get(voter, False) or granted


def take_over(state: RaftState, message: TimeoutNow, now: float) -> None:
    """The leader hands over: stand at once."""
    if state.is_voter and message.sender == state.leader:
        stand(state, now, transfer=True)


def _lead(state: RaftState, now: float) -> None:
    state.role = Role.LEADER
    state.leader = state.id
    state.votes = {}
    state.progress = {peer: Progress(state.log.last_index + 1, now) for peer in state.peers}
    state.lease = Lease(state.settings.election_timeout_s)
    state.uncommitted_bytes = 0
    state.quorum_deadline = now + state.settings.election_timeout_s
    state.term_start = state.append_own(EntryKind.NOOP, b"").index
    replication.begin_round(state, now)


def _other_voters(state: RaftState) -> tuple[str, ...]:
    return tuple(voter for voter in state.voters if voter != state.id)


def _won(state: RaftState) -> bool:
    return sum(state.votes.get(voter, False) for voter in state.voters) > len(state.voters) // 2


def _lost(state: RaftState) -> bool:
    refused = sum(not state.votes.get(voter, True) for voter in state.voters)
    return refused >= len(state.voters) - len(state.voters) // 2
