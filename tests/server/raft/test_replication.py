"""How much is under way to another server, and what becomes of what is lost."""

from __future__ import annotations

import random

import pytest

from chowk.server.raft.core import Raft
from chowk.server.raft.messages import AppendRequest, AppendResponse, InstallSnapshot, PreVoteResponse, VoteResponse
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

MEMBERS = Configuration(tuple(Member(f"s{number}", f"s{number}:1") for number in (1, 2, 3)), "one")


def perform(raft: Raft, now: float = 3.0) -> list[AppendRequest]:
    """What goes to s2, other than heartbeats."""
    sent: list[AppendRequest] = []
    while not (effects := raft.take_effects(now)).is_empty:
        sent += [m for m in effects.messages if isinstance(m, AppendRequest) and m.target == "s2" and m.entries]
        for persist in effects.persists:
            raft.persisted(persist.sequence, now)
    return sent


def leader(**settings: int) -> Raft:
    restored = Restored(HardState(1), None, (bootstrap_entry(MEMBERS),))
    raft = Raft("s1", restored, Settings(**settings), random.Random(1), 0.0)
    raft.handle_timer(3.0)
    perform(raft)
    raft.receive(PreVoteResponse(sender="s2", target="s1", term=2, granted=True), 3.0)
    perform(raft)
    raft.receive(VoteResponse(sender="s2", target="s1", term=2, granted=True), 3.0)
    perform(raft)
    answer(raft, 2)
    return raft


def answer(raft: Raft, match: int, *, sender: str = "s2", now: float = 3.0) -> list[AppendRequest]:
    raft.receive(
        AppendResponse(sender=sender, target="s1", term=2, success=True, prev_index=match, match=match, round=1), now
    )
    return perform(raft, now)


def test_no_more_messages_are_under_way_to_a_server_than_the_window_has_and_answers_open_it() -> None:
    raft = leader(inflight_messages_max=3)
    sent = []
    for _ in range(10):
        raft.propose(b"x")
        sent += perform(raft)
    assert [message.entries[-1].index for message in sent] == [3, 4, 5]
    (next_one,) = answer(raft, 4)
    assert [entry.index for entry in next_one.entries] == list(range(6, 13))
    assert raft.progress()["s2"].inflight == 2


def test_no_more_bytes_are_under_way_to_a_server_than_the_window_has() -> None:
    raft = leader(inflight_bytes_max=1000, message_bytes_max=400)
    for _ in range(100):
        raft.propose(b"x" * 68)
    sent = perform(raft)
    assert [len(message.entries) for message in sent] == [4, 4, 4]
    assert [len(message.entries) for message in answer(raft, 6)] == [4]


def test_a_server_that_answers_nothing_costs_no_memory_beyond_the_window_and_is_sent_heartbeats_only() -> None:
    raft = leader(inflight_messages_max=4)
    entries = 0
    for number in range(200):
        now = 3.0 + number * 0.2
        raft.propose(b"x")
        entries += len(perform(raft, now))
        answer(raft, raft.last_index, sender="s3", now=now)
        raft.handle_timer(now)
    assert entries == 4
    assert raft.commit_index == raft.last_index


def test_a_message_larger_than_the_limit_goes_alone() -> None:
    raft = leader(message_bytes_max=100)
    raft.propose(b"x" * 500)
    raft.propose(b"y")
    assert [[entry.data[:1] for entry in message.entries] for message in perform(raft)] == [[b"x"], [b"y"]]


def test_followers_hear_of_a_commit_at_once_and_once() -> None:
    raft = leader()
    raft.propose(b"x")
    perform(raft)
    raft.receive(AppendResponse(sender="s2", target="s1", term=2, success=True, prev_index=3, match=3, round=1), 3.0)
    news = raft.take_effects(3.0).messages
    assert [(m.target, m.commit, m.entries) for m in news if isinstance(m, AppendRequest)] == [("s2", 3, ())]
    raft.receive(AppendResponse(sender="s2", target="s1", term=2, success=True, prev_index=3, match=3, round=1), 3.0)
    assert raft.take_effects(3.0).messages == ()


def follower() -> Raft:
    """s2 of a cluster that s1 leads, with one entry more than its first."""
    entries = (bootstrap_entry(MEMBERS), Entry(2, 1, EntryKind.COMMAND, b"x"))
    return Raft("s2", Restored(HardState(1), None, entries), Settings(), random.Random(1), 0.0)


def news(prev_term: int = 1) -> AppendRequest:
    return AppendRequest(
        sender="s1", target="s2", term=1, prev_index=2, prev_term=prev_term, commit=2, round=1, is_news=True
    )


def test_a_follower_that_agrees_takes_the_news_of_a_commit_without_a_word() -> None:
    raft = follower()
    raft.receive(news(), 1.0)
    effects = raft.take_effects(1.0)
    assert raft.commit_index == 2
    assert [entry.index for entry in effects.committed] == [1, 2]
    assert effects.messages == ()


def test_a_follower_whose_log_differs_from_such_news_says_so() -> None:
    raft = follower()
    raft.receive(news(prev_term=0), 1.0)
    assert raft.commit_index == 0
    refusal = raft.take_effects(1.0).messages[0]
    assert isinstance(refusal, AppendResponse)
    assert not refusal.success


def test_a_follower_is_not_asked_to_answer_news_and_is_to_answer_a_heartbeat() -> None:
    raft = leader()
    raft.propose(b"x")
    perform(raft)
    raft.receive(AppendResponse(sender="s2", target="s1", term=2, success=True, prev_index=3, match=3, round=1), 3.0)
    told = [message for message in raft.take_effects(3.0).messages if isinstance(message, AppendRequest)]
    assert [message.is_news for message in told] == [True]
    raft.handle_timer(3.2)
    heartbeats = [message for message in raft.take_effects(3.2).messages if isinstance(message, AppendRequest)]
    assert heartbeats
    assert not any(message.is_news for message in heartbeats)


def test_a_server_that_is_not_heard_is_sent_no_snapshot_until_it_answers_a_heartbeat() -> None:
    raft = leader()
    for _ in range(5):
        raft.propose(b"x")
    perform(raft)
    answer(raft, 7, sender="s2")
    answer(raft, 1, sender="s3")
    raft.snapshot_taken(raft.meta_at(7), 0)
    lost = AppendResponse(
        sender="s3", target="s1", term=2, success=False, prev_index=7, match=0, round=1, hint_index=1, hint_term=1
    )
    raft.receive(lost, 3.0)
    assert any(isinstance(message, InstallSnapshot) for message in raft.take_effects(3.0).messages)
    raft.snapshot_sent("s3", arrived=False)
    sent_at = []
    for step in range(1, 12):
        now = 3.0 + step * 0.2
        answer(raft, 7, sender="s2", now=now)
        raft.handle_timer(now)
        if any(isinstance(message, InstallSnapshot) for message in raft.take_effects(now).messages):
            sent_at.append(round(now, 1))
            raft.snapshot_sent("s3", arrived=False)
    assert sent_at == [3.2, 3.4, 3.6, 3.8]
    heard = AppendResponse(sender="s3", target="s1", term=2, success=True, prev_index=0, match=0, round=1)
    raft.receive(heard, 5.3)
    assert any(isinstance(message, InstallSnapshot) for message in raft.take_effects(5.3).messages)


def test_a_snapshot_or_entries_that_do_not_fit_together_are_not_taken() -> None:
    restored = Restored(HardState(2), None, (bootstrap_entry(MEMBERS),))
    raft = Raft("s1", restored, Settings(), random.Random(1), 0.0)
    other = SnapshotMeta(9, 2, Configuration(MEMBERS.members, "two"), 1)
    raft.receive(InstallSnapshot(sender="s2", target="s1", term=2, meta=other, round=1), 0.5)
    assert raft.commit_index == 0
    for entries in ((Entry(3, 2),), (Entry(2, 2), Entry(4, 2)), (Entry(1, 2), Entry(2, 2))):
        raft.receive(
            AppendRequest(
                sender="s2", target="s1", term=2, prev_index=1, prev_term=1, commit=1, round=1, entries=entries
            ),
            0.5,
        )
    assert raft.last_index == 1


def test_a_log_with_a_hole_is_no_log() -> None:
    with pytest.raises(Exception, match="the log begins at 7"):
        Raft(
            "s1",
            Restored(HardState(2), SnapshotMeta(5, 2, MEMBERS, 1), (Entry(7, 2),)),
            Settings(),
            random.Random(1),
            0.0,
        )


def test_what_is_kept_behind_a_snapshot_is_bounded_by_entries_and_by_bytes() -> None:
    for trailing, kept in ((3, 3), (100, 5)):
        raft = leader(trailing_bytes_max=600)
        for _ in range(20):
            raft.propose(b"x" * 88)
        perform(raft)
        answer(raft, raft.last_index)
        compacted = raft.snapshot_taken(raft.meta_at(raft.commit_index), trailing)
        assert raft.commit_index - compacted == kept
