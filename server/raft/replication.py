"""How the log gets to the others, and when it is committed (dissertation 3.5, 3.6, 5). Functions on `RaftState`."""

from __future__ import annotations

from typing import Final

from chowk.server.raft import reads
from chowk.server.raft.errors import BrokenInvariant
from chowk.server.raft.messages import AppendRequest, AppendResponse, InstallSnapshot, TimeoutNow
from chowk.server.raft.progress import Pace, Progress
from chowk.server.raft.records import Entry
from chowk.server.raft.state import RaftState, Role

INSTALL_TIMEOUTS: Final = 4
"""How many election timeouts a server may take to put a snapshot that arrived into force."""
Batches = dict[int, tuple[tuple[Entry, ...], int]]
"""Entries from an index on, and their size: most servers are sent the same."""


def begin_round(state: RaftState, now: float) -> None:
    """What is sent from now on asks for a newer answer: who answers it was there after this moment."""
    state.round += 1
    state.heartbeat_deadline = now + state.settings.heartbeat_s
    state.lease.sent(state.round, now)
    reads.ride(state)


def heartbeat(state: RaftState, now: float) -> None:
    """Tell everyone who leads, and find out who is there and where a log differs. Begins a new round."""
    begin_round(state, now)
    for peer in state.peers:
        progress = state.progress[peer]
        if now - progress.contact_s >= state.settings.election_timeout_s:
            progress.forget_snapshot()
        prev = 0 if progress.pace is Pace.SNAPSHOT else progress.next - 1
        prev_term = state.log.term_at(prev) if prev else 0
        if prev_term is None:
            # What was sent last is compacted here and may be lost there: begin again from what it has for certain.
            progress.probe()
            state.wants_replication = True
            prev, prev_term = 0, 0
        _send_append(state, peer, prev, prev_term, ())


def replicate_all(state: RaftState, now: float) -> None:
    """Send everyone what is new: entries as far as each one's pace allows, and to where they are committed."""
    state.wants_replication = False
    batches: Batches = {}
    for peer in state.peers:
        _replicate(state, peer, batches, now)


def _replicate(state: RaftState, peer: str, batches: Batches, now: float) -> None:
    """One server's part; a snapshot when the log does not reach back far enough. `batches` are shared among servers."""
    progress, log = state.progress[peer], state.log
    while not progress.is_paused(state.settings):
        first = progress.next
        prev_term = log.term_at(first - 1)
        if prev_term is None:
            _send_snapshot(state, peer, progress, now)
            return
        if first > log.last_index and progress.pace is not Pace.PROBE:
            break
        if first not in batches:
            batches[first] = log.batch(first, state.settings.message_bytes_max)
        entries, size = batches[first]
        _send_append(state, peer, first - 1, prev_term, entries)
        progress.sent(first - 1 + len(entries), size)
    if progress.pace is Pace.REPLICATE and min(state.commit, progress.match) > progress.told:
        _send_append(state, peer, progress.match, log.term_at(progress.match) or 0, (), is_news=True)


def _send_append(
    state: RaftState, peer: str, prev: int, prev_term: int, entries: tuple[Entry, ...], *, is_news: bool = False
) -> None:
    progress = state.progress[peer]
    progress.told = max(progress.told, min(state.commit, prev + len(entries)))
    state.send_early(
        AppendRequest(
            sender=state.id,
            target=peer,
            term=state.term,
            prev_index=prev,
            prev_term=prev_term,
            commit=state.commit,
            round=state.round,
            promise_s=state.settings.election_timeout_s,
            entries=entries,
            is_news=is_news,
        )
    )


def _send_snapshot(state: RaftState, peer: str, progress: Progress, now: float) -> None:
    """To a server that is there: one that is not heard answers a heartbeat first."""
    if now - progress.contact_s >= state.settings.election_timeout_s:
        progress.await_contact()
        return
    if state.snapshot is None:
        raise BrokenInvariant("the log is compacted and there is no snapshot")
    progress.await_snapshot(state.snapshot.index)
    state.send_early(
        InstallSnapshot(
            sender=state.id,
            target=peer,
            term=state.term,
            meta=state.snapshot,
            round=state.round,
            promise_s=state.settings.election_timeout_s,
        )
    )


def snapshot_ended(state: RaftState, peer: str, *, arrived: bool) -> None:
    """Sending a snapshot ended. After a failure the next heartbeat tries again, not at once."""
    progress = state.progress.get(peer)
    if progress is not None and progress.pace is Pace.SNAPSHOT:
        index = progress.snapshot_index
        progress.probe()
        if arrived:
            progress.next = max(progress.next, index + 1)
            progress.installs_until_s = progress.contact_s + INSTALL_TIMEOUTS * state.settings.election_timeout_s
            state.wants_replication = True
        else:
            progress.await_contact()


def needed_from(state: RaftState, index: int) -> int:
    """Up to where the log may be forgotten, of what is before `index`: a server that is being sent a snapshot, or has all of
    it and still writes it, needs what follows it, or would need another when it has it, for ever."""
    return min([index, *(known.snapshot_index for known in state.progress.values() if known.needs_what_follows)])


def follow(state: RaftState, message: AppendRequest | InstallSnapshot, now: float) -> None:
    """There is a leader in this term."""
    if state.role is Role.LEADER:
        raise BrokenInvariant(f"{message.sender} leads term {state.term}, and so does this server")
    if state.role is not Role.FOLLOWER:
        state.become_follower(state.term, message.sender, now)
    state.leader = message.sender
    state.leader_contact_s = now
    state.promise(message.promise_s, now)
    state.wait_for_election(now)


def accept(state: RaftState, message: AppendRequest) -> None:
    """A follower's part of appending. Only a real conflict truncates; a stale or repeated message never does."""
    prev, prev_term, entries = message.prev_index, message.prev_term, message.entries
    if entries and (entries[0].index, entries[-1].index) != (prev + 1, prev + len(entries)):
        return
    if prev < state.commit:
        entries = entries[state.commit - prev :]
        prev, prev_term = state.commit, state.log.term_at(state.commit) or 0
    if state.log.term_at(prev) != prev_term:
        _refuse(state, message, state.log.agreement(prev, prev_term))
        return
    for position, entry in enumerate(entries):
        if state.log.term_at(entry.index) != entry.term:
            if entry.index <= state.log.last_index:
                state.truncate_from(entry.index)
            state.append(entries[position:])
            break
    agreed = prev + len(entries)
    state.commit_to(min(message.commit, agreed))
    if entries or not message.is_news:
        _agree(state, message, agreed)


def _agree(state: RaftState, message: AppendRequest | InstallSnapshot, agreed: int) -> None:
    """Say up to where the logs agree. News of entries waits until they are durable; a heartbeat is answered at once, with
    what is durable already: a slow disk must not look like a server that is gone."""
    has_news = isinstance(message, InstallSnapshot) or bool(message.entries)
    prev = message.prev_index if isinstance(message, AppendRequest) else message.meta.index
    answer = AppendResponse(
        sender=state.id,
        target=message.sender,
        term=state.term,
        success=True,
        prev_index=prev,
        match=agreed if has_news else min(agreed, state.durability.durable_index),
        round=message.round,
    )
    if has_news:
        state.send(answer)
    else:
        state.send_early(answer)


def _refuse(state: RaftState, message: AppendRequest, hint: int) -> None:
    state.send_early(
        AppendResponse(
            sender=state.id,
            target=message.sender,
            term=state.term,
            success=False,
            prev_index=message.prev_index,
            match=0,
            round=message.round,
            hint_index=hint,
            hint_term=state.log.term_at(hint) or 0,
        )
    )


def install(state: RaftState, message: InstallSnapshot) -> None:
    """A follower's part of a snapshot, whose bytes are all here. An old one changes nothing."""
    meta, cluster = message.meta, state.configurations.latest.cluster
    if cluster and meta.configuration.cluster != cluster:
        return
    if meta.index > state.commit:
        if state.log.term_at(meta.index) == meta.term:
            state.commit_to(meta.index)
        else:
            state.log.reset(meta.index, meta.term)
            state.configurations.reset(meta)
            state.durability.installed(meta)
            state.snapshot = meta
            state.commit = state.applied = meta.index
    _agree(state, message, max(meta.index, state.commit))


def acknowledge(state: RaftState, message: AppendResponse, now: float) -> None:
    """A leader hears from a follower, in its own term."""
    progress = state.progress.get(message.sender)
    if state.role is not Role.LEADER or progress is None:
        return
    progress.contact_s = now
    progress.round = max(progress.round, message.round)
    reads.confirm(state)
    state.wants_replication = True
    if not message.success:
        agreement = state.log.agreement(message.hint_index, message.hint_term)
        if not progress.is_installing(agreement, now):
            progress.refuse(message.prev_index, agreement)
        return
    if message.match > state.log.last_index:
        raise BrokenInvariant(f"{message.sender} has entry {message.match}; the leader's log ends before")
    progress.acknowledge(message.match, max(message.match, message.prev_index))
    if progress.pace is Pace.SNAPSHOT and state.log.term_at(progress.match) is not None:
        progress.resume(progress.match)
    if advance_commit(state, now) and state.transfer_target == message.sender:
        hand_over_when_ready(state)


def advance_commit(state: RaftState, now: float) -> bool:
    """Commit what a majority has durably, this server's own part included, if it is of this term (dissertation 3.6.2).

    Whether this server still leads: one whose removal is committed does not.
    """
    matches: dict[str, float] = {server: progress.match for server, progress in state.progress.items()}
    matches[state.id] = state.durability.durable_index
    reached = state.quorum_value(matches)
    if reached <= state.commit or state.log.term_at(int(reached)) != state.term:
        return True
    state.commit_to(int(reached))
    state.wants_replication = True
    if state.is_voter or state.configurations.latest_index > state.commit:
        return True
    _leave(state, now)
    return False


def _leave(state: RaftState, now: float) -> None:
    """This leader's own removal is committed. Tell the others, and let the one that has most stand at once."""
    replicate_all(state, now)
    heir = max(state.voters, key=lambda voter: (state.progress[voter].match, voter))
    state.send_early(TimeoutNow(sender=state.id, target=heir, term=state.term))
    state.become_follower(state.term, "", now)


def begin_transfer(state: RaftState, target: str, now: float) -> None:
    """Stop taking proposals, bring the target up to date, then let it stand."""
    state.transfer_target = target
    state.transfer_deadline = now + state.settings.election_timeout_s
    state.wants_replication = True
    hand_over_when_ready(state)


def hand_over_when_ready(state: RaftState) -> None:
    """The target has everything, durably: it stands, against any lease, so this server's own lease is over."""
    if state.progress[state.transfer_target].match == state.log.last_index:
        state.lease.end()
        state.send_early(TimeoutNow(sender=state.id, target=state.transfer_target, term=state.term))
