"""When servers stand: drawn at random, so that one is first, and never while a leader may count on them."""

from __future__ import annotations

import random

from chowk.server.raft.core import Raft
from chowk.server.raft.messages import (
    AppendRequest,
    PreVoteRequest,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from chowk.server.raft.records import Configuration, HardState, Member, Restored, bootstrap_entry
from chowk.server.raft.settings import Settings
from chowk.server.raft.state import Role
from support.raft_cluster import Cluster

MEMBERS = Configuration(tuple(Member(f"s{number}", f"s{number}:1") for number in (1, 2, 3)))
RESTORED = Restored(HardState(1), None, (bootstrap_entry(MEMBERS),))


def make(seed: int = 1, *, id: str = "s1") -> Raft:
    return Raft(id, RESTORED, Settings(), random.Random(seed), 0.0)


def perform(raft: Raft, now: float) -> list[object]:
    sent: list[object] = []
    while not (effects := raft.take_effects(now)).is_empty:
        sent += effects.messages
        for persist in effects.persists:
            raft.persisted(persist.sequence, now)
    return sent


def test_a_follower_waits_between_one_and_one_and_a_half_election_timeouts_and_all_of_that_range_is_drawn() -> None:
    waits = [raft.next_deadline() or 0.0 for raft in (make(seed) for seed in range(500))]
    assert all(1.0 <= wait <= 1.5 for wait in waits)
    assert min(waits) < 1.02
    assert max(waits) > 1.48


def test_a_candidate_draws_anew_for_every_election() -> None:
    raft = make()
    waits = []
    now = 0.0
    for _ in range(50):
        deadline = raft.next_deadline() or 0.0
        waits.append(deadline - now)
        now = deadline
        raft.handle_timer(now)
        perform(raft, now)
    assert len({round(wait, 6) for wait in waits}) > 45
    assert all(0.5 <= wait <= 1.0 for wait in waits[1:])


def test_two_that_time_out_close_together_are_rare_and_an_election_is_soon_won() -> None:
    times = []
    for seed in range(60):
        cluster = Cluster(seed, 3, delay_s=0.01)
        cluster.wait_leader(5.0)
        times.append(cluster.now)
    assert sorted(times)[len(times) // 2] < 1.6
    assert sum(time > 2.2 for time in times) <= 6


def test_the_cluster_has_a_new_leader_within_an_election_timeout_and_a_half_of_a_leaders_death() -> None:
    times = []
    for seed in range(120):
        cluster = Cluster(seed, 3, delay_s=0.01)
        leader = cluster.wait_leader()
        cluster.run(1.0)
        cluster.crash(leader.id)
        died = cluster.now
        cluster.wait_leader()
        times.append(cluster.now - died)
    assert sorted(times)[60] < 1.35
    assert sorted(times)[114] < 2.0


def heard(raft: Raft, promise_s: float, now: float) -> None:
    raft.receive(
        AppendRequest(
            sender="s2", target="s1", term=2, prev_index=1, prev_term=1, commit=1, round=1, promise_s=promise_s
        ),
        now,
    )
    perform(raft, now)


def votes(raft: Raft, now: float) -> bool:
    raft.receive(PreVoteRequest(sender="s3", target="s1", term=9, last_index=9, last_term=8), now)
    return any(message.granted for message in perform(raft, now) if isinstance(message, PreVoteResponse))


def test_a_follower_keeps_the_promise_its_leader_asks_for_though_its_own_settings_are_shorter_or_longer() -> None:
    for promise_s, until in ((3.0, 3.0), (0.1, 1.0), (1e9, 60.0)):
        raft = make()
        heard(raft, promise_s, 2.0)
        assert (raft.next_deadline() or 0.0) >= 2.0 + until
        assert not votes(raft, 2.0 + until - 0.01)
        assert votes(raft, 2.0 + until)


def test_a_shorter_promise_does_not_end_a_longer_one() -> None:
    raft = make()
    heard(raft, 3.0, 2.0)
    heard(raft, 1.0, 2.1)
    assert not votes(raft, 4.9)
    assert votes(raft, 5.0)


def test_a_word_to_stand_from_who_does_not_lead_is_not_followed() -> None:
    raft = make()
    raft.receive(AppendRequest(sender="s2", target="s1", term=2, prev_index=1, prev_term=1, commit=1, round=1), 0.1)
    raft.receive(TimeoutNow(sender="s3", target="s1", term=2), 0.1)
    assert raft.role is Role.FOLLOWER
    raft.receive(TimeoutNow(sender="s2", target="s1", term=1), 0.1)
    assert raft.role is Role.FOLLOWER
    raft.receive(TimeoutNow(sender="s2", target="s1", term=2), 0.1)
    assert (raft.role, raft.term) == (Role.CANDIDATE, 3)
    assert [message.transfer for message in perform(raft, 0.1) if isinstance(message, VoteRequest)] == [True, True]


def asking_of_five(now: float) -> Raft:
    members = Configuration(tuple(Member(f"s{number}", "a:1") for number in range(1, 6)))
    raft = Raft("s1", Restored(HardState(1), None, (bootstrap_entry(members),)), Settings(), random.Random(1), 0.0)
    raft.handle_timer(now)
    perform(raft, now)
    return raft


def grant(raft: Raft, term: int, *voters: str) -> None:
    for voter in voters:
        raft.receive(PreVoteResponse(sender=voter, target="s1", term=term, granted=True), 3.0)
    perform(raft, 3.0)


def test_a_vote_given_is_not_taken_back_by_a_later_refusal_of_the_same_voter() -> None:
    raft = asking_of_five(3.0)
    grant(raft, 2, "s2", "s3")
    raft.receive(VoteResponse(sender="s2", target="s1", term=2, granted=True), 3.0)
    raft.receive(VoteResponse(sender="s2", target="s1", term=2, granted=False), 3.0)
    raft.receive(VoteResponse(sender="s3", target="s1", term=2, granted=True), 3.0)
    assert raft.role is Role.LEADER


def test_a_late_vote_of_the_last_election_is_not_counted_with_the_pre_votes_for_the_next() -> None:
    raft = asking_of_five(3.0)
    grant(raft, 2, "s2", "s3")
    raft.handle_timer(5.0)
    perform(raft, 5.0)
    assert raft.role is Role.PRE_CANDIDATE
    grant(raft, 3, "s4")
    raft.receive(VoteResponse(sender="s5", target="s1", term=2, granted=True), 5.1)
    perform(raft, 5.1)
    assert raft.role is Role.PRE_CANDIDATE


def test_a_server_whose_disk_hangs_does_not_ask_for_votes() -> None:
    raft = make()
    raft.receive(AppendRequest(sender="s2", target="s1", term=2, prev_index=1, prev_term=1, commit=1, round=1), 0.1)
    (persist,) = raft.take_effects(0.1).persists
    for now in (3.0, 5.0, 7.0):
        raft.handle_timer(now)
        assert raft.take_effects(now).is_empty
    assert raft.role is Role.FOLLOWER
    raft.persisted(persist.sequence, 7.0)
    raft.handle_timer(10.0)
    assert raft.role is Role.PRE_CANDIDATE


def test_messages_of_another_server_or_of_nobody_change_nothing() -> None:
    raft = make()
    raft.receive(VoteRequest(sender="s2", target="s9", term=7, last_index=9, last_term=6), 3.0)
    assert raft.term == 1
