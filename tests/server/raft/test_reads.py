"""Read indexes and the lease: what one server may answer, and what it may not believe."""

from __future__ import annotations

import random

from chowk.server.raft.core import Raft
from chowk.server.raft.effects import ReadState
from chowk.server.raft.lease import ROUNDS_MAX, Lease
from chowk.server.raft.messages import AppendRequest, Message, ReadIndexRequest, ReadIndexResponse
from chowk.server.raft.records import Configuration, HardState, Member, Restored, bootstrap_entry
from chowk.server.raft.settings import Settings
from chowk.server.raft.state import Role

MEMBERS = Configuration(tuple(Member(f"s{number}", f"s{number}:1") for number in (1, 2, 3)))


def follower(seed: int = 1, **settings: int) -> Raft:
    raft = Raft(
        "s1",
        Restored(HardState(1), None, (bootstrap_entry(MEMBERS),)),
        Settings(**settings),
        random.Random(seed),
        0.0,
    )
    heartbeat(raft, 0.1)
    return raft


def heartbeat(raft: Raft, now: float) -> list[Message]:
    raft.receive(AppendRequest(sender="s2", target="s1", term=2, prev_index=1, prev_term=1, commit=1, round=1), now)
    return perform(raft, now)


def perform(raft: Raft, now: float) -> list[Message]:
    sent: list[Message] = []
    while not (effects := raft.take_effects(now)).is_empty:
        sent += effects.messages
        raft_reads.extend(effects.reads)
        for persist in effects.persists:
            raft.persisted(persist.sequence, now)
    return sent


raft_reads: list[ReadState] = []


def questions(sent: list[Message]) -> list[int]:
    return [message.context for message in sent if isinstance(message, ReadIndexRequest)]


def reply(raft: Raft, context: int, index: int, now: float = 0.2) -> list[tuple[int, int | None]]:
    raft_reads.clear()
    raft.receive(ReadIndexResponse(sender="s2", target="s1", term=2, context=context, index=index), now)
    perform(raft, now)
    return [(read.context, read.index) for read in raft_reads]


def test_an_answer_to_a_question_of_an_earlier_life_is_not_taken_for_one_of_now() -> None:
    before, after = follower(1), follower(2)
    before.read(1, 0.1)
    after.read(1, 0.1)
    (old,) = questions(perform(before, 0.1))
    (new,) = questions(perform(after, 0.1))
    assert old != new
    assert reply(after, old, 1) == []
    assert reply(after, new, 7) == [(1, 7)]


def test_reads_that_come_while_a_question_is_under_way_are_not_answered_by_it() -> None:
    raft = follower()
    raft.read(1, 0.1)
    (first,) = questions(perform(raft, 0.1))
    raft.read(2, 0.1)
    assert questions(perform(raft, 0.1)) == []
    raft_reads.clear()
    raft.receive(ReadIndexResponse(sender="s2", target="s1", term=2, context=first, index=5), 0.2)
    (second,) = questions(perform(raft, 0.2))
    assert [(read.context, read.index) for read in raft_reads] == [(1, 5)]
    assert reply(raft, second, 6) == [(2, 6)]


def test_a_question_is_repeated_and_the_answer_to_the_first_is_then_too_old() -> None:
    raft = follower()
    raft.read(1, 0.1)
    (first,) = questions(perform(raft, 0.1))
    assert questions(heartbeat(raft, 0.2)) == []
    raft.read(2, 0.3)
    (again,) = questions(heartbeat(raft, 0.5))
    assert reply(raft, first, 3) == []
    assert reply(raft, again, 4) == [(1, 4), (2, 4)]


def test_a_leader_that_does_not_know_says_so_and_reads_are_given_up_with_the_leader() -> None:
    raft = follower()
    raft.read(1, 0.1)
    (first,) = questions(perform(raft, 0.1))
    assert reply(raft, first, 0) == [(1, None)]
    raft.read(2, 0.2)
    perform(raft, 0.2)
    raft_reads.clear()
    raft.handle_timer(5.0)
    perform(raft, 5.0)
    assert raft.role is Role.PRE_CANDIDATE
    assert [(read.context, read.index) for read in raft_reads] == [(2, None)]


def test_more_reads_than_may_wait_are_refused_at_once() -> None:
    raft = follower(waiting_reads_max=2)
    raft_reads.clear()
    for context in (1, 2, 3):
        raft.read(context, 0.1)
    perform(raft, 0.1)
    assert [(read.context, read.index) for read in raft_reads] == [(3, None)]


def test_a_follower_asked_for_a_read_index_says_that_it_does_not_know() -> None:
    raft = follower()
    raft.receive(ReadIndexRequest(sender="s3", target="s1", term=2, context=9), 0.1)
    assert [message.index for message in perform(raft, 0.1) if isinstance(message, ReadIndexResponse)] == [0]


def test_a_sole_voter_holds_the_lease_for_ever_and_reads_without_a_round() -> None:
    alone = Configuration((Member("s1", "a:1"),))
    raft = Raft("s1", Restored(HardState(1), None, (bootstrap_entry(alone),)), Settings(), random.Random(1), 0.0)
    assert not raft.has_lease(0.0)
    perform(raft, 0.0)
    assert raft.has_lease(1e9)
    raft_reads.clear()
    raft.read(1, 0.0)
    perform(raft, 0.0)
    assert [(read.context, read.index) for read in raft_reads] == [(1, 2)]


def test_a_sole_voter_answers_a_read_that_rode_a_heartbeats_round() -> None:
    alone = Configuration((Member("s1", "a:1"),))
    raft = Raft("s1", Restored(HardState(1), None, (bootstrap_entry(alone),)), Settings(), random.Random(1), 0.0)
    raft.persisted(raft.take_effects(0.0).persists[0].sequence, 0.0)
    noop = raft.take_effects(0.0).persists[0]
    raft.read(1, 0.0)
    raft.persisted(noop.sequence, 0.0)
    raft.handle_timer(10.0)
    raft.read(2, 10.0)
    assert [(read.context, read.index) for read in raft.take_effects(10.0).reads] == [(1, 2), (2, 2)]


def test_who_follows_has_no_lease() -> None:
    assert not follower().has_lease(0.1)


def test_a_lease_forgets_the_oldest_rounds_and_begins_later_never_earlier() -> None:
    lease = Lease(1.0)
    for round in range(1, ROUNDS_MAX + 11):
        lease.sent(round, float(round))
    lease.confirmed(5)
    assert not lease.is_valid(5.0)
    lease.confirmed(ROUNDS_MAX + 10)
    assert lease.is_valid(ROUNDS_MAX + 10.7)
    lease.begin_again()
    assert not lease.is_valid(ROUNDS_MAX + 10.7)


def test_a_lease_that_was_given_up_stays_so_whatever_is_answered() -> None:
    lease = Lease(1.0)
    lease.end()
    lease.sent(1, 1.0)
    lease.confirmed(1)
    assert not lease.is_valid(1.1)
