"""The twenty classic bugs of Raft engines, one test each.

Here are those that take a whole cluster, a snapshot or a clock to show. Single messages show the others: 2, 3, 4, 5, 15 and
16 are in test_core, 1, 6, 7, 9, 11, 13 and 20 in test_leader, and 1, 2, 3, 6, 7, 10 to 14, 15, 17, 19 and 20 are told as
scripts too.
"""

from __future__ import annotations

import random

from chowk.server.raft.core import Raft
from chowk.server.raft.effects import Effects
from chowk.server.raft.messages import (
    AppendRequest,
    AppendResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    VoteResponse,
)
from chowk.server.raft.records import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Member,
    Restored,
    SnapshotMeta,
    bootstrap_entry,
)
from chowk.server.raft.settings import Settings
from chowk.server.raft.state import Role
from support.raft_cluster import Cluster


def members(*ids: str) -> Configuration:
    return Configuration(tuple(Member(id, f"{id}:1") for id in ids))


ALL = members("s1", "s2", "s3")
PAIR = members("s1", "s2")


def make(restored: Restored, id: str = "s1") -> Raft:
    return Raft(id, restored, Settings(), random.Random(1), 0.0)


def fresh(*entries: Entry, term: int = 1) -> Raft:
    return make(Restored(HardState(term), None, (bootstrap_entry(ALL), *entries)))


def perform(raft: Raft, now: float = 3.0) -> list[Effects]:
    """As a shell with a disk that is at once done."""
    seen: list[Effects] = []
    while not (effects := raft.take_effects(now)).is_empty:
        seen.append(effects)
        for persist in effects.persists:
            raft.persisted(persist.sequence, now)
    return seen


def sent(raft: Raft, now: float = 3.0) -> list[Message]:
    return [message for effects in perform(raft, now) for message in effects.messages]


def lead(raft: Raft, now: float = 3.0) -> Raft:
    raft.handle_timer(now)
    perform(raft, now)
    raft.receive(PreVoteResponse(sender="s2", target="s1", term=raft.term + 1, granted=True), now)
    perform(raft, now)
    raft.receive(VoteResponse(sender="s2", target="s1", term=raft.term, granted=True), now)
    perform(raft, now)
    acknowledge(raft, raft.last_index, now=now)
    assert raft.leads
    return raft


def acknowledge(raft: Raft, match: int, *, sender: str = "s2", round: int = 1, now: float = 3.0) -> None:
    raft.receive(
        AppendResponse(
            sender=sender, target="s1", term=raft.term, success=True, prev_index=match, match=match, round=round
        ),
        now,
    )
    perform(raft, now)


def append(raft: Raft, prev: int, prev_term: int, *entries: Entry, term: int, commit: int = 0) -> None:
    raft.receive(
        AppendRequest(
            sender="s2",
            target="s1",
            term=term,
            prev_index=prev,
            prev_term=prev_term,
            commit=commit,
            round=1,
            entries=entries,
        ),
        3.0,
    )


def snapshot(raft: Raft, meta: SnapshotMeta, term: int) -> None:
    raft.receive(InstallSnapshot(sender="s2", target="s1", term=term, meta=meta, round=1), 3.0)


def test_bug_8_a_configuration_from_before_a_snapshot_of_another_server_is_out_of_force() -> None:
    stale = Entry(3, 2, EntryKind.CONFIGURATION, members("s1", "s2", "s3", "s9").encode())
    raft = fresh(Entry(2, 2), stale, term=2)
    assert raft.configuration.member("s9") is not None
    snapshot(raft, SnapshotMeta(5, 3, PAIR, 4), term=3)
    perform(raft)
    assert (raft.configuration, raft.configuration_index) == (PAIR, 4)


def test_bug_8_a_log_the_snapshot_does_not_continue_is_nothing_to_start_from() -> None:
    stale = Entry(3, 2, EntryKind.CONFIGURATION, members("s1", "s2", "s3", "s9").encode())
    kept = (bootstrap_entry(ALL), Entry(2, 2), stale, Entry(4, 2), Entry(5, 2), Entry(6, 2))
    raft = make(Restored(HardState(3), SnapshotMeta(5, 3, PAIR, 4), kept))
    assert (raft.configuration, raft.last_index, raft.last_term) == (PAIR, 5, 3)
    behind = make(Restored(HardState(3), SnapshotMeta(9, 3, PAIR, 4), kept))
    assert (behind.configuration, behind.last_index) == (PAIR, 9)


def test_bug_10_a_follower_that_installs_while_the_leader_compacts_needs_no_second_snapshot() -> None:
    cluster = Cluster(3, 3)
    leader = cluster.wait_leader()
    slow = next(id for id in cluster.machines if id != leader.id)
    cluster.crash(slow)
    for number in range(20):
        cluster.propose(b"%d" % number)
        cluster.run(0.05)
    cluster.take_snapshot(leader.id, trailing=0)
    cluster.boot(slow)
    metas: set[int] = set()
    for number in range(100):
        cluster.propose(b"more %d" % number)
        cluster.run(0.02)
        metas |= {what.meta.index for _at, _count, _kind, what in cluster.events if isinstance(what, InstallSnapshot)}
        if leader.raft is not None and leader.raft.progress()[slow].pace == "snapshot":
            cluster.take_snapshot(leader.id, trailing=0)
    cluster.run(3.0)
    assert len(metas) == 1
    assert cluster.leader() is leader
    assert cluster.machines[slow].applied == leader.applied


def test_bug_12_a_follower_that_does_not_hear_the_leader_does_not_unseat_it() -> None:
    cluster = Cluster(5, 3)
    leader = cluster.wait_leader()
    deaf = next(id for id in cluster.machines if id != leader.id)
    term = leader.raft.term if leader.raft is not None else 0
    cluster.cut |= {(leader.id, deaf), (deaf, leader.id)}
    for number in range(20):
        cluster.propose(b"%d" % number)
        cluster.run(0.5)
        assert cluster.leader() is leader
    assert leader.raft is not None
    assert leader.raft.term == term
    assert len(leader.applied) == 20


def test_bug_14_after_a_pause_the_lease_is_over_before_anything_else_happens() -> None:
    raft = lead(fresh())
    assert raft.has_lease(3.0)
    assert raft.has_lease(3.7)
    assert not raft.has_lease(3.75)
    assert not raft.has_lease(60.0)
    assert raft.role is Role.LEADER


def test_bug_14_what_was_answered_counts_from_when_it_was_sent() -> None:
    raft = lead(fresh())
    raft.handle_timer(3.2)
    perform(raft, 3.2)
    acknowledge(raft, raft.last_index, round=2, now=3.9)
    assert raft.has_lease(3.94)
    assert not raft.has_lease(3.96)


def test_bug_17_of_two_snapshots_close_together_the_newer_stays() -> None:
    raft = fresh()
    append(raft, 1, 1, *(Entry(index, 2) for index in range(2, 6)), term=2, commit=5)
    perform(raft)
    own = raft.meta_at(4)
    snapshot(raft, SnapshotMeta(9, 2, ALL, 1), term=2)
    assert raft.snapshot_taken(own, 0) == 0
    snapshot(raft, SnapshotMeta(8, 2, ALL, 1), term=2)
    perform(raft)
    assert raft.snapshot is not None
    assert (raft.snapshot.index, raft.commit_index, raft.last_index) == (9, 9, 9)


def test_bug_17_an_install_under_way_is_not_proved_by_the_write_that_was_before_it() -> None:
    raft = fresh()
    append(raft, 1, 1, *(Entry(index, 2) for index in range(2, 12)), term=2)
    (first,) = raft.take_effects(3.0).persists
    snapshot(raft, SnapshotMeta(9, 3, ALL, 1), term=3)
    append(raft, 9, 3, Entry(10, 3), term=3, commit=10)
    (second,) = raft.take_effects(3.0).persists
    assert second.install is not None
    raft.persisted(first.sequence, 3.0)
    assert raft.take_effects(3.0).committed == ()
    raft.persisted(second.sequence, 3.0)
    assert [entry.index for entry in raft.take_effects(3.0).committed] == [10]


def test_bug_18_members_that_left_are_not_back_after_a_restart_from_a_snapshot() -> None:
    changed = Entry(3, 2, EntryKind.CONFIGURATION, PAIR.encode())
    log = (bootstrap_entry(ALL), Entry(2, 2), changed, Entry(4, 2), Entry(5, 2))
    for kept in (log, log[1:], log[3:], ()):
        raft = make(Restored(HardState(2), SnapshotMeta(5, 2, PAIR, 3), kept))
        assert (raft.configuration, raft.configuration_index) == (PAIR, 3)
        lead(raft)
        assert list(raft.progress()) == ["s2"]


def test_bug_18_a_change_after_the_snapshot_is_in_force_after_a_restart() -> None:
    changed = Entry(7, 2, EntryKind.CONFIGURATION, PAIR.encode())
    raft = make(Restored(HardState(2), SnapshotMeta(5, 2, ALL, 1), (Entry(6, 2), changed)))
    assert (raft.configuration, raft.configuration_index) == (PAIR, 7)


def test_bug_19_the_own_vote_of_a_lost_election_counts_in_no_other() -> None:
    raft = fresh()
    raft.handle_timer(3.0)
    perform(raft)
    raft.receive(PreVoteResponse(sender="s2", target="s1", term=2, granted=True), 3.0)
    (vote,) = raft.take_effects(3.0).persists
    raft.receive(VoteResponse(sender="s3", target="s1", term=4, granted=False), 3.0)
    raft.persisted(vote.sequence, 9.0)
    raft.handle_timer(9.0)
    perform(raft, 9.0)
    assert (raft.term, raft.role) == (4, Role.PRE_CANDIDATE)
    assert not any(isinstance(message, AppendRequest) for message in sent(raft, 9.0))


def test_a_restarted_follower_keeps_the_promise_it_may_have_given_and_a_new_one_has_given_none() -> None:
    ask = PreVoteRequest(sender="s2", target="s1", term=9, last_index=9, last_term=8)
    for term, granted in ((2, False), (1, True)):
        raft = fresh(term=term)
        raft.receive(ask, 0.9)
        assert [message.granted for message in sent(raft, 0.9) if isinstance(message, PreVoteResponse)] == [granted]
