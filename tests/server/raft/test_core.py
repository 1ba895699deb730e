"""Scripts for the core: the classic bugs that one server can have, and the rules of single messages."""

from __future__ import annotations

import random

import pytest

from chowk.server.raft.core import Raft
from chowk.server.raft.effects import Effects
from chowk.server.raft.errors import ChangeRefused, NotLeading, TooMuchUncommitted
from chowk.server.raft.messages import AppendRequest, AppendResponse, VoteRequest, VoteResponse
from chowk.server.raft.records import Configuration, Entry, HardState, Member, Restored, bootstrap_entry
from chowk.server.raft.settings import Settings
from chowk.server.raft.state import Role


def make(size: int = 1, settings: Settings | None = None, entries: tuple[Entry, ...] = (), term: int = 1) -> Raft:
    members = Configuration(tuple(Member(f"s{number}", f"s{number}:1") for number in range(1, size + 1)))
    restored = Restored(HardState(term), None, (bootstrap_entry(members), *entries))
    return Raft("s1", restored, settings or Settings(), random.Random(1), 0.0)


def perform(raft: Raft) -> list[Effects]:
    """As a shell with a disk that is at once done."""
    seen = []
    while not (effects := raft.take_effects(0.0)).is_empty:
        seen.append(effects)
        for persist in effects.persists:
            raft.persisted(persist.sequence, 0.0)
    return seen


def follow(
    raft: Raft, prev: int, prev_term: int, entries: tuple[Entry, ...] = (), commit: int = 0, term: int = 2
) -> None:
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
        0.0,
    )


def test_a_sole_voter_leads_as_soon_as_its_vote_and_first_entry_are_durable() -> None:
    raft = make()
    vote = raft.take_effects(0.0).persists[0]
    assert vote.hard_state == HardState(2, "s1")
    assert raft.role is Role.CANDIDATE
    raft.persisted(vote.sequence, 0.0)
    noop = raft.take_effects(0.0).persists[0]
    assert (raft.role, raft.leads, noop.entries[0].index) == (Role.LEADER, False, 2)
    raft.persisted(noop.sequence, 0.0)
    assert raft.leads
    assert raft.next_deadline() is None


def test_bug_16_a_single_node_does_not_commit_before_its_entry_is_durable() -> None:
    raft = make()
    perform(raft)
    index = raft.propose(b"x")
    effects = raft.take_effects(0.0)
    assert effects.committed == ()
    assert raft.take_effects(0.0).is_empty
    assert raft.commit_index == index - 1
    raft.persisted(effects.persists[0].sequence, 0.0)
    assert [entry.data for entry in raft.take_effects(0.0).committed] == [b"x"]


def test_bug_4_a_vote_is_not_told_before_it_is_durable_and_not_given_twice_after_a_restart() -> None:
    raft = make(3)
    ask = VoteRequest(sender="s2", target="s1", term=5, last_index=9, last_term=4)
    raft.receive(ask, 0.0)
    effects = raft.take_effects(0.0)
    assert effects.messages == ()
    assert effects.persists[0].hard_state == HardState(5, "s2")
    raft.persisted(effects.persists[0].sequence, 0.0)
    assert raft.take_effects(0.0).messages == (VoteResponse(sender="s1", target="s2", term=5, granted=True),)
    again = Raft("s1", Restored(HardState(5, "s2"), None, ()), Settings(), random.Random(1), 0.0)
    again.receive(VoteRequest(sender="s3", target="s1", term=5, last_index=9, last_term=4), 0.0)
    assert [message.granted for message in again.take_effects(0.0).messages] == [False]


def test_bug_5_the_term_is_written_no_later_than_the_first_entry_of_it() -> None:
    raft = make(3)
    follow(raft, 1, 1, (Entry(2, 7, data=b"x"),), term=7)
    persist = raft.take_effects(0.0).persists[0]
    assert persist.hard_state == HardState(7, "")
    assert persist.entries[0].term == 7


def test_bug_2_a_stale_append_truncates_nothing() -> None:
    raft = make(3)
    follow(raft, 1, 1, (Entry(2, 2), Entry(3, 2), Entry(4, 2)))
    follow(raft, 1, 1, (Entry(2, 2),))
    assert raft.last_index == 4


def test_bug_3_commit_does_not_move_past_the_last_verified_entry() -> None:
    raft = make(3, entries=(Entry(2, 1), Entry(3, 1)))
    follow(raft, 2, 1, (), commit=9)
    assert raft.commit_index == 2


def test_bug_15_an_old_write_that_ends_does_not_vouch_for_an_entry_written_again() -> None:
    raft = make(3)
    follow(raft, 1, 1, (Entry(2, 2, data=b"a"),), term=2)
    first = raft.take_effects(0.0).persists[0]
    follow(raft, 1, 1, (Entry(2, 3, data=b"b"),), term=3, commit=2)
    effects = raft.take_effects(0.0)
    (second,) = effects.persists
    assert [entry.index for entry in effects.committed] == [1]
    raft.persisted(first.sequence, 0.0)
    assert raft.take_effects(0.0).committed == ()
    raft.persisted(second.sequence, 0.0)
    assert [entry.data for entry in raft.take_effects(0.0).committed] == [b"b"]


def test_a_follower_acknowledges_entries_only_when_they_are_durable() -> None:
    raft = make(3)
    follow(raft, 1, 1, (Entry(2, 2),))
    effects = raft.take_effects(0.0)
    assert effects.messages == ()
    raft.persisted(effects.persists[0].sequence, 0.0)
    (answer,) = raft.take_effects(0.0).messages
    assert isinstance(answer, AppendResponse)
    assert (answer.success, answer.match) == (True, 2)


def test_a_conflict_is_answered_with_where_the_logs_may_agree() -> None:
    raft = make(3, entries=(Entry(2, 1), Entry(3, 4), Entry(4, 4)), term=4)
    follow(raft, 4, 3, term=5)
    perform_first = perform(raft)
    (answer,) = [message for effects in perform_first for message in effects.messages]
    assert (answer.success, answer.hint_index, answer.hint_term) == (False, 2, 1)


def test_a_committed_entry_is_never_replaced() -> None:
    raft = make(3)
    follow(raft, 1, 1, (Entry(2, 2),), commit=2)
    follow(raft, 1, 1, (Entry(2, 3), Entry(3, 3)), term=3)
    assert [raft.term_at(index) for index in (2, 3)] == [2, 3]


def test_proposals_beyond_the_uncommitted_bytes_are_refused_and_taken_again_after_the_commit() -> None:
    raft = make(settings=Settings(uncommitted_bytes_max=1000))
    perform(raft)
    raft.propose(b"x" * 900)
    with pytest.raises(TooMuchUncommitted):
        raft.propose(b"x" * 900)
    perform(raft)
    raft.propose(b"x" * 900)
    assert "uncommitted 932 B" in raft.describe()


def test_a_read_waits_for_the_leaders_first_commit() -> None:
    raft = make()
    raft.persisted(raft.take_effects(0.0).persists[0].sequence, 0.0)
    noop = raft.take_effects(0.0).persists[0]
    raft.read(1, 0.0)
    assert raft.take_effects(0.0).reads == ()
    raft.persisted(noop.sequence, 0.0)
    assert [(read.context, read.index) for read in raft.take_effects(0.0).reads] == [(1, 2)]


def test_who_does_not_lead_takes_no_proposal_and_refuses_reads_while_no_leader_is_known() -> None:
    raft = make(3)
    with pytest.raises(NotLeading):
        raft.propose(b"x")
    raft.read(1, 0.0)
    assert [read.index for read in raft.take_effects(0.0).reads] == [None]


def test_two_members_cannot_change_at_once() -> None:
    raft = make()
    perform(raft)
    more = raft.configuration.joined_by(Member("s2", "a")).joined_by(Member("s3", "b"))
    with pytest.raises(ChangeRefused, match="one member at a time"):
        raft.change_configuration(more, 0.0)
