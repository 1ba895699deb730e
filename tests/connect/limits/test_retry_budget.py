"""connect.limits.retry_budget and breakers."""

import pytest

from chowk.connect.limits.breakers import Breakers
from chowk.connect.limits.retry_budget import WINDOW_S, RetryBudget
from chowk.connect.snapshot import Limits


def test_retries_are_a_part_of_the_requests_of_the_last_seconds():
    budget = RetryBudget(20.0, 0.0)
    retried = 0
    for number in range(100_000):
        now = 1000 + number / 1000
        budget.request(now)
        retried += budget.take(now)
    assert retried == pytest.approx(20_000, rel=0.02)
    assert (budget.retries_total, budget.refused_total) == (retried, 100_000 - retried)


def test_a_quiet_caller_may_retry_a_few_each_second():
    budget = RetryBudget(20.0, 3.0)
    assert sum(budget.take(5.0) for _ in range(100)) == 3 * WINDOW_S
    assert sum(budget.take(5.0 + WINDOW_S) for _ in range(100)) == 3 * WINDOW_S, "those before are forgotten"
    steady = RetryBudget(20.0, 3.0)
    assert sum(steady.take(n / 10) for n in range(1000)) == pytest.approx(300, abs=30)


def test_what_was_long_ago_does_not_count():
    budget = RetryBudget(100.0, 0.0)
    for _ in range(50):
        budget.request(1.0)
    assert budget.take(9.0)
    assert not budget.take(1.0 + WINDOW_S)
    assert not budget.take(1e9)


def test_a_clock_that_steps_back_is_no_new_window():
    budget = RetryBudget(0.0, 1.0)
    assert sum(budget.take(now) for now in (100.0, 99.0) for _ in range(100)) == WINDOW_S


def test_breakers_take_a_new_configuration_without_forgetting_who_is_inside():
    breakers = Breakers(
        Limits(connections_max=2, pending_max=1, requests_max=3, retry_percent=0.0, retries_per_s_min=0.0)
    )
    assert [breakers.connections.enter() for _ in range(3)] == [True, True, False]
    assert [breakers.pending.enter() for _ in range(2)] == [True, False]
    assert [breakers.requests.enter() for _ in range(4)] == [True, True, True, False]
    assert not breakers.retries.take(1.0)
    breakers.update(Limits(connections_max=3, retries_per_s_min=5.0))
    assert [breakers.connections.enter() for _ in range(2)] == [True, False]
    assert all(breakers.pending.enter() for _ in range(100))
    assert breakers.retries.take(1.0)
