"""connect.limits.gate."""

import pytest

from chowk.connect.limits.gate import Gate


def test_a_full_gate_refuses_and_counts_until_one_leaves():
    gate = Gate(2)
    assert [gate.enter(), gate.enter(), gate.enter()] == [True, True, False]
    assert (gate.inside, gate.refused_total) == (2, 1)
    gate.leave()
    assert gate.enter()


def test_zero_means_no_limit():
    gate = Gate(0)
    assert all(gate.enter() for _ in range(1000))


def test_a_limit_lowered_below_what_is_inside_lets_nobody_in_until_enough_left():
    gate = Gate(3)
    for _ in range(3):
        gate.enter()
    gate.limit = 1
    gate.leave()
    gate.leave()
    assert not gate.enter()
    gate.leave()
    assert gate.enter()


def test_leaving_an_empty_gate_is_a_mistake_that_shows():
    with pytest.raises(ValueError, match="nobody"):
        Gate(1).leave()
