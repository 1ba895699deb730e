"""In which order servers are tried."""

from __future__ import annotations

from collections import Counter
from random import Random

from chowk.agent.client.roster import OWN, OWN_RETRY_S, SERVERS_MAX, TROUBLE_S, Roster

ADDRESSES = ("10.0.0.1:8300", "10.0.0.2:8300", "10.0.0.3:8300")


def test_the_own_server_comes_first_unless_it_just_failed() -> None:
    roster = Roster(Random(1), has_own=True)
    roster.set(ADDRESSES)
    assert roster.order(0.0)[0] == OWN
    roster.failed(OWN, 0.0)
    assert roster.order(0.5)[-1] == OWN
    assert roster.order(OWN_RETRY_S)[0] == OWN
    roster.troubled(OWN, 10.0)
    roster.failed(OWN, 11.0)
    assert roster.better(ADDRESSES[0], 10.0 + TROUBLE_S - 0.1) == ()
    assert roster.better(ADDRESSES[0], 10.0 + TROUBLE_S) == (OWN,)


def test_agents_start_with_different_servers() -> None:
    firsts: Counter[str] = Counter()
    for seed in range(300):
        roster = Roster(Random(seed), has_own=False)
        roster.set(ADDRESSES)
        firsts[roster.order(0.0)[0]] += 1
    assert min(firsts.values()) > 70


def test_who_failed_comes_last_and_a_report_that_repeats_changes_nothing() -> None:
    roster = Roster(Random(1), has_own=False)
    roster.set(ADDRESSES)
    first, second, third = roster.order(0.0)
    roster.failed(first, 0.0)
    roster.set(tuple(reversed(ADDRESSES)))
    assert roster.order(0.0) == (second, third, first)
    roster.set((first, third))
    assert roster.order(0.0) == (third, first)


def test_without_others_the_own_server_is_all_there_is() -> None:
    roster = Roster(Random(1), has_own=True)
    roster.failed(OWN, 0.0)
    assert roster.order(0.0) == (OWN,)
    assert not roster.has_choice


def test_no_report_makes_the_list_longer_than_its_limit() -> None:
    roster = Roster(Random(1), has_own=False)
    roster.set(tuple(f"10.0.{n // 250}.{n % 250}:8300" for n in range(1000)))
    assert len(roster.order(0.0)) == SERVERS_MAX
