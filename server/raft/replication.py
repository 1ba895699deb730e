"""How the log gets to the others, and when it is committed (dissertation 3.5, 3.6, 5). Functions on `RaftState`."""

from __future__ import annotations

from chowk.server.raft import reads
from chowk.server.raft.errors import BrokenInvariant
from chowk.server.raft.messages import AppendRequest, AppendResponse, InstallSnapshot, TimeoutNow
from chowk.server.raft.progress import Pace, Progress
from chowk.server.raft.state import RaftState, Role


def heartbeat(state: RaftState, now: float) -> None:
    """Tell everyone who leads, and find out who is there and where a log differs. Begins a new round."""
    state.round += 1
    state.heartbeat_deadline = now + state.settings.heartbeat_s
    for peer in state.peers:
        progress = state.progress[peer]
        prev = 0 if progress.pace is Pace.SNAPSHOT else progress.next - 1
        prev_term = state.log.term_at(prev) if prev else 0
        if prev_term is None:
            # What was sent last is compacted here and may be lost there: begin again from what it has for certain.
            progress.probe()
            replicate(state, peer)
            prev, prev_term = 0, 0
        _send_append(state, peer, prev, prev_term, 0)


def replicate_all(state: RaftState) -> None:
    """Send everyone what is new."""
    state.wants_replication = False
    for peer in state.peers:
        replicate(state, peer)


def replicate(state: RaftState, peer: str) -> None:
    """Send a server what it lacks, as far as its pace allows; a snapshot when the log does not reach back far enough."""
    progress = state.progress[peer]
    while not progress.is_paused(state.settings.inflight_messages_max):
        prev_term = state.log.term_at(progress.next - 1)
        if prev_term is None:
            _send_snapshot(state, peer, progress)
            return
        is_probe = progress.pace is Pace.PROBE
        if progress.next > state.log.last_index and not is_probe:
            return
        last = _send_append(state, peer, progress.next - 1, prev_term, state.settings.message_bytes_max)
        progress.sent(last)


def _send_append(state: RaftState, peer: str, prev: int, prev_term: int, bytes_max: int) -> int:
    entries = state.log.batch(prev + 1, bytes_max) if bytes_max else ()
    state.send_early(
        AppendRequest(
            sender=state.id,
            target=peer,
            term=state.term,
            prev_index=prev,
            prev_term=prev_term,
            commit=state.commit,
            round=state.round,
            entries=entries,
        )
    )
    return prev + len(entries)


def _send_snapshot(state: RaftState, peer: str, progress: Progress) -> None:
    if state.snapshot is None:
        raise BrokenInvariant("the log is compacted and there is no snapshot")
    progress.await_snapshot(state.snapshot.index)
    state.send_early(
        InstallSnapshot(sender=state.id, target=peer, term=state.term, meta=state.snapshot, round=state.round)
    )


def snapshot_ended(state: RaftState, peer: str, *, arrived: bool) -> None:
    """Sending a snapshot ended. After a failure the next heartbeat tries again, not at once."""
    progress = state.progress.get(peer)
    if progress is not None and progress.pace is Pace.SNAPSHOT:
        index = progress.snapshot_index
        progress.probe()
        progress.next = max(progress.next, index + 1) if arrived else progress.next
        progress.probing = not arrived
        if arrived:
            replicate(state, peer)


def follow(state: RaftState, message: AppendRequest | InstallSnapshot, now: float) -> None:
    """There is a leader in this term."""
    if state.role is Role.LEADER:
        raise BrokenInvariant(f"{message.sender} leads term {state.term}, and so does this server")
    if state.role is not Role.FOLLOWER:
        state.become_follower(state.term, message.sender, now)
    state.leader = message.sender
    state.leader_contact_s = now
    state.wait_for_election(now)


def accept(state: RaftState, message: AppendRequest) -> None:
    """A follower's part of appending. Only a real conflict truncates; a stale or repeated message never does."""
    prev, prev_term, entries = message.prev_index, message.prev_term, message.entries
    if prev < state.commit:
        entries = tuple(entry for entry in entries if entry.index > state.commit)
        if not entries or entries[0].index != state.commit + 1:
            _answer(state, message, state.commit)
            return
        prev, prev_term = state.commit, state.log.term_at(state.commit) or 0
    if state.log.term_at(prev) != prev_term:
        hint = state.log.agreement(prev, prev_term)
        _answer(state, message, 0, hint)
        return
    for position, entry in enumerate(entries):
        if state.log.term_at(entry.index) != entry.term:
            if entry.index <= state.log.last_index:
                state.truncate_from(entry.index)
            state.append(entries[position:])
            break
    match = prev + len(entries)
    state.commit_to(min(message.commit, match))
    _answer(state, message, match)


def _answer(state: RaftState, message: AppendRequest, match: int, hint: int | None = None) -> None:
    state.send(
        AppendResponse(
            sender=state.id,
            target=message.sender,
            term=state.term,
            success=hint is None,
            prev_index=message.prev_index,
            match=match,
            round=message.round,
            hint_index=hint or 0,
            hint_term=(state.log.term_at(hint) or 0) if hint is not None else 0,
        )
    )


def install(state: RaftState, message: InstallSnapshot) -> None:
    """A follower's part of a snapshot, whose bytes are all here. An old one changes nothing."""
    meta = message.meta
    if meta.index > state.commit:
        if state.log.term_at(meta.index) == meta.term:
            state.commit_to(meta.index)
        else:
            state.log.reset(meta.index, meta.term)
            state.configurations.reset(meta)
            state.durability.installed(meta)
            state.snapshot = meta
            state.commit = state.applied = meta.index
    state.send(
        AppendResponse(
            sender=state.id,
            target=message.sender,
            term=state.term,
            success=True,
            prev_index=meta.index,
            match=max(meta.index, state.commit),
            round=message.round,
        )
    )


def acknowledge(state: RaftState, message: AppendResponse, now: float) -> None:
    """A leader hears from a follower, in its own term."""
    progress = state.progress.get(message.sender)
    if state.role is not Role.LEADER or progress is None:
        return
    progress.contact_s = now
    progress.round = max(progress.round, message.round)
    if not message.success:
        agreement = state.log.agreement(message.hint_index, message.hint_term)
        if progress.refuse(message.prev_index, agreement):
            replicate(state, message.sender)
    elif message.match > state.log.last_index:
        raise BrokenInvariant(f"{message.sender} has entry {message.match}; the leader's log ends before")
    else:
        progress.acknowledge(message.match)
        if not advance_commit(state, now):
            return
        replicate(state, message.sender)
        if state.transfer_target == message.sender and progress.match == state.log.last_index:
            _hand_over(state)
    reads.confirm(state)


def advance_commit(state: RaftState, now: float) -> bool:
    """Commit what a majority has durably, this server's own part included, if it is of this term (dissertation 3.6.2).

    Whether this server still leads: one whose removal is committed does not.
    """
    matches: dict[str, float] = {server: progress.match for server, progress in state.progress.items()}
    matches[state.id] = state.durability.durable_index
    reached = state.quorum_value(matches)
    if reached <= state.commit or state.log.term_at(int(reached)) != state.term:
        return True
    had_led = state.has_led
    state.commit_to(int(reached))
    reads.release_waiting(state, now, had_led=had_led)
    for peer in state.peers:
        progress = state.progress[peer]
        if progress.pace is Pace.REPLICATE:
            _send_append(state, peer, progress.match, state.log.term_at(progress.match) or 0, 0)
    if not state.is_voter and state.configurations.latest_index <= state.commit:
        state.become_follower(state.term, "", now)
        return False
    return True


def begin_transfer(state: RaftState, target: str, now: float) -> None:
    """Stop taking proposals, bring the target up to date, then let it stand."""
    state.transfer_target = target
    state.transfer_deadline = now + state.settings.election_timeout_s
    if state.progress[target].match == state.log.last_index:
        _hand_over(state)
    else:
        replicate(state, target)


def _hand_over(state: RaftState) -> None:
    state.send(TimeoutNow(sender=state.id, target=state.transfer_target, term=state.term))
