"""Scripts for a leader among three: the classic bugs that need another server to show. `s2` and `s3` are the test."""

from __future__ import annotations

import random

import pytest

from chowk.server.raft.core import Raft
from chowk.server.raft.errors import ChangeRefused
from chowk.server.raft.messages import (
    AppendRequest,
    AppendResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    VoteRequest,
    VoteResponse,
)
from chowk.server.raft.records import Configuration, Entry, HardState, Member, Restored, SnapshotMeta, bootstrap_entry
from chowk.server.raft.settings import Settings
from chowk.server.raft.state import Role

MEMBERS = Configuration(tuple(Member(f"s{number}", f"s{number}:1") for number in (1, 2, 3)))


def make(*entries: Entry, term: int = 1) -> Raft:
    restored = Restored(HardState(term), None, (bootstrap_entry(MEMBERS), *entries))
    return Raft("s1", restored, Settings(), random.Random(1), 0.0)


def perform(raft: Raft, now: float = 3.0) -> list[Message]:
    sent: list[Message] = []
    while not (effects := raft.take_effects(now)).is_empty:
        sent += effects.messages
        for persist in effects.persists:
            raft.persisted(persist.sequence, now)
    return sent


def lead(raft: Raft) -> Raft:
    """Make it the leader of the next term, its first entry written here and nowhere else."""
    raft.handle_timer(3.0)
    perform(raft)
    raft.receive(PreVoteResponse(sender="s2", target="s1", term=raft.term + 1, granted=True), 3.0)
    perform(raft)
    raft.receive(VoteResponse(sender="s2", target="s1", term=raft.term, granted=True), 3.0)
    perform(raft)
    assert raft.role is Role.LEADER
    return raft


def acknowledge(raft: Raft, sender: str, match: int, *, term: int | None = None, round: int = 0) -> None:
    raft.receive(
        AppendResponse(
            sender=sender,
            target="s1",
            term=raft.term if term is None else term,
            success=True,
            prev_index=match,
            match=match,
            round=round,
        ),
        3.0,
    )


def test_bug_1_an_entry_of_an_earlier_term_is_not_committed_by_counting() -> None:
    raft = lead(make(Entry(2, 1, data=b"old")))
    acknowledge(raft, "s2", 2)
    assert raft.commit_index == 0
    acknowledge(raft, "s2", 3)
    assert raft.commit_index == 3


def test_bug_6_an_answer_of_an_earlier_term_counts_for_nothing() -> None:
    raft = lead(make())
    acknowledge(raft, "s2", 2, term=raft.term - 1)
    assert raft.commit_index == 0


def test_bug_7_no_membership_change_before_the_leaders_own_entry_is_committed() -> None:
    raft = lead(make())
    acknowledge(raft, "s2", 1)
    with pytest.raises(ChangeRefused, match="own term"):
        raft.change_configuration(MEMBERS.left_by("s3"), 3.0)
    acknowledge(raft, "s2", 2)
    raft.change_configuration(MEMBERS.left_by("s3"), 3.0)


def test_bug_9_an_old_snapshot_rolls_nothing_back() -> None:
    raft = make()
    entries = tuple(Entry(index, 2) for index in range(2, 8))
    raft.receive(
        AppendRequest(sender="s2", target="s1", term=2, prev_index=1, prev_term=1, commit=7, round=1, entries=entries),
        0.0,
    )
    perform(raft, 0.0)
    old = SnapshotMeta(3, 1, MEMBERS, 1)
    raft.receive(InstallSnapshot(sender="s2", target="s1", term=2, meta=old, round=1), 0.0)
    (answer,) = perform(raft, 0.0)
    assert (raft.commit_index, raft.last_index, answer.match) == (7, 7, 7)


def test_bug_11_while_a_leader_is_heard_nobody_is_helped_to_disturb_it() -> None:
    raft = make()
    raft.receive(AppendRequest(sender="s2", target="s1", term=2, prev_index=1, prev_term=1, commit=1, round=1), 0.0)
    perform(raft, 0.0)
    raft.receive(PreVoteRequest(sender="s3", target="s1", term=9, last_index=9, last_term=8), 0.5)
    raft.receive(VoteRequest(sender="s3", target="s1", term=9, last_index=9, last_term=8), 0.5)
    assert [message.granted for message in perform(raft, 0.5)] == [False]
    assert raft.term == 2
    raft.receive(PreVoteRequest(sender="s3", target="s1", term=9, last_index=9, last_term=8), 1.5)
    assert [message.granted for message in perform(raft, 1.5)] == [True]


def test_bug_13_no_read_is_served_before_the_leaders_own_entry_is_committed() -> None:
    raft = lead(make())
    raft.read(1, 3.0)
    acknowledge(raft, "s2", 1, round=1)
    assert raft.take_effects(3.0).reads == ()
    acknowledge(raft, "s2", 2, round=1)
    acknowledge(raft, "s2", 2, round=2)
    assert [(read.context, read.index) for read in raft.take_effects(3.0).reads] == [(1, 2)]


def test_bug_13_rounds_that_a_majority_answers_do_not_stand_in_for_that_commit() -> None:
    raft = lead(make())
    raft.read(1, 3.0)
    raft.handle_timer(3.2)
    perform(raft, 3.2)
    acknowledge(raft, "s2", 1, round=2)
    acknowledge(raft, "s3", 1, round=2)
    assert raft.take_effects(3.2).reads == ()
    acknowledge(raft, "s2", 2, round=2)
    perform(raft, 3.2)
    acknowledge(raft, "s2", 2, round=3)
    assert [(read.context, read.index) for read in raft.take_effects(3.2).reads] == [(1, 2)]


def test_bug_14_a_read_is_served_only_when_a_majority_answered_after_it_was_asked() -> None:
    raft = lead(make())
    acknowledge(raft, "s2", 2)
    perform(raft)
    raft.read(1, 3.0)
    asked = [message for message in perform(raft) if isinstance(message, AppendRequest)]
    round = max(message.round for message in asked)
    acknowledge(raft, "s2", 2, round=round - 1)
    assert raft.take_effects(3.0).reads == ()
    acknowledge(raft, "s2", 2, round=round)
    assert [(read.context, read.index) for read in raft.take_effects(3.0).reads] == [(1, 2)]


def test_bug_20_a_leader_that_leaves_does_not_count_itself() -> None:
    raft = lead(make())
    acknowledge(raft, "s2", 2)
    index = raft.change_configuration(MEMBERS.left_by("s1"), 3.0)
    perform(raft)
    acknowledge(raft, "s2", index)
    assert raft.commit_index == 2
    acknowledge(raft, "s3", index)
    assert (raft.commit_index, raft.role) == (index, Role.FOLLOWER)


def test_after_a_change_of_members_the_lease_begins_again_with_a_round_of_the_new_voters() -> None:
    raft = lead(make())
    acknowledge(raft, "s2", 2, round=1)
    perform(raft)
    assert raft.has_lease(3.1)
    raft.change_configuration(MEMBERS.joined_by(Member("s4", "s4:1")), 3.1)
    perform(raft, 3.1)
    assert not raft.has_lease(3.1)
    acknowledge(raft, "s2", 2, round=2)
    assert not raft.has_lease(3.1)
    acknowledge(raft, "s4", 0, round=2)
    assert raft.has_lease(3.1)
