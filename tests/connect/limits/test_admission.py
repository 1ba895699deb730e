"""connect.limits.admission."""

import random

import pytest

from chowk.connect.limits.admission import (
    QUEUE_MIN,
    WAIT_S,
    WAIT_S_OVERLOADED,
    Admission,
    Priority,
    Verdict,
    memory_floor,
    priority_of,
)
from chowk.connect.limits.concurrency import FixedLimit

LOW, MIDDLE, HIGH = Priority.SHEDDABLE, Priority.DEFAULT, Priority.CRITICAL
RNG = random.Random(1)


def door(limit: int = 1) -> Admission[str]:
    return Admission(FixedLimit(limit))


def told(admission: Admission[str]) -> list[str]:
    return [("+" if each.admitted else "-") + each.ticket for each in admission.take_effects()]


def test_as_many_as_the_limit_are_let_in_and_the_next_waits_for_one_to_leave():
    one = door(2)
    assert [one.arrive(0.0, MIDDLE, name) for name in "abc"] == [Verdict.ADMITTED, Verdict.ADMITTED, Verdict.WAITING]
    assert (one.inside, one.waiting, told(one)) == (2, 1, [])
    one.leave(0.01, None, RNG)
    assert (one.inside, one.waiting, told(one)) == (2, 0, ["+c"])
    assert one.admitted_total == 3


def test_no_limit_lets_everybody_in():
    one = door(0)
    assert {one.arrive(0.0, LOW, str(n)) for n in range(5000)} == {Verdict.ADMITTED}


def test_nobody_waits_longer_than_the_limit():
    one = door()
    one.arrive(0.0, MIDDLE, "inside")
    one.arrive(1.0, MIDDLE, "a")
    one.arrive(1.05, MIDDLE, "b")
    assert one.next_deadline() == pytest.approx(1.0 + WAIT_S)
    one.handle_timer(1.0 + WAIT_S)
    assert told(one)[0] == "-a"


def test_a_queue_that_was_not_empty_for_long_keeps_people_shorter_and_serves_the_newest_first():
    one = door()
    one.arrive(0.0, MIDDLE, "inside")
    for number in range(12):
        one.arrive(number * 0.01, MIDDLE, str(number))
    now = 0.12
    one.leave(now, 0.1, RNG)
    assert told(one)[-1] == "+11"
    assert one.waiting == len([n for n in range(11) if n * 0.01 > now - WAIT_S_OVERLOADED])
    one.handle_timer(0.2)
    assert one.waiting == 0
    one.arrive(0.3, MIDDLE, "x")
    one.arrive(0.31, MIDDLE, "y")
    one.leave(0.32, 0.1, RNG)
    assert told(one)[-1] == "+x", "it was empty: first come, first served again"


def test_a_crowd_of_unimportant_requests_takes_nothing_of_the_time_that_an_important_one_may_wait():
    one = door()
    one.arrive(0.0, MIDDLE, "inside")
    for number in range(30):
        one.arrive(number * 0.01, LOW, str(number))
    now = 0.3
    assert one.arrive(now, HIGH, "important") is Verdict.WAITING
    told(one)
    one.handle_timer(now + 0.09)
    assert (one.waiting, "-important" in told(one)) == (1, False), "only the crowd is gone"
    assert one.next_deadline() == pytest.approx(now + WAIT_S)
    one.leave(now + 0.09, 0.1, RNG)
    assert told(one) == ["+important"]


def test_a_crowd_of_important_requests_is_one_for_the_unimportant_too():
    one = door()
    one.arrive(0.0, MIDDLE, "inside")
    for number in range(12):
        one.arrive(number * 0.01, HIGH, str(number))
    one.arrive(0.12, LOW, "late")
    told(one)
    one.handle_timer(0.12 + WAIT_S_OVERLOADED)
    assert "-late" in told(one)


def test_the_deadline_is_never_too_late():
    rng = random.Random(4)
    one = door(3)
    now = 0.0
    for number in range(3000):
        now += rng.random() * 0.02
        deadline = one.next_deadline()
        if deadline is not None and deadline <= now:
            one.handle_timer(deadline)
            assert one.next_deadline() is None or one.next_deadline() > deadline, "it did something"
            now = max(now, deadline)
        if rng.random() < 0.8 or not one.inside:
            one.arrive(now, rng.choice(list(Priority)), str(number))
        else:
            one.leave(now, 0.01, rng)
        one.take_effects()
        assert one.inside <= 3
        assert one.waiting <= QUEUE_MIN


def test_a_full_queue_sheds_the_least_important_newest_first_to_make_room():
    one = door()
    one.arrive(0.0, MIDDLE, "inside")
    for number in range(QUEUE_MIN):
        assert one.arrive(0.0, LOW if number < 2 else MIDDLE, str(number)) is Verdict.WAITING
    assert one.arrive(0.0, LOW, "low") is Verdict.SHED
    assert one.arrive(0.0, HIGH, "high") is Verdict.WAITING
    assert told(one) == ["-1"]
    assert one.arrive(0.0, MIDDLE, "middle") is Verdict.WAITING
    assert told(one) == ["-0"]
    assert one.arrive(0.0, MIDDLE, "another") is Verdict.SHED, "equals do not displace each other"
    assert one.arrive(0.0, HIGH, "high2") is Verdict.WAITING
    assert told(one) == ["-middle"]
    one.leave(0.01, None, RNG)
    assert told(one) == ["+high"]
    assert one.shed_total == {LOW: 3, MIDDLE: 2, HIGH: 0}


def test_a_waiting_caller_that_goes_away_takes_no_place():
    one = door()
    one.arrive(0.0, MIDDLE, "inside")
    one.arrive(0.0, MIDDLE, "a")
    assert one.withdraw("a")
    assert not one.withdraw("a")
    one.leave(0.01, None, RNG)
    assert (told(one), one.inside, one.next_deadline()) == ([], 0, None)


def test_a_limit_that_rises_lets_the_waiting_in():
    limit = FixedLimit(1)
    one: Admission[str] = Admission(limit)
    for name in "abc":
        one.arrive(0.0, MIDDLE, name)
    limit.limit = 3
    one.handle_timer(0.001)
    assert told(one) == ["+b", "+c"]


def test_leaving_an_empty_door_is_a_mistake_that_shows():
    with pytest.raises(ValueError, match="nobody"):
        door().leave(0.0, None, RNG)


def test_little_memory_sheds_the_unimportant_at_once():
    one = door(10)
    admitted = {}
    for used in (10, 80, 90, 200):
        one.floor = memory_floor(used, 100)
        admitted[used] = [each.name for each in Priority if one.arrive(0.0, each, each.name) is Verdict.ADMITTED]
    assert admitted == {
        10: ["SHEDDABLE", "DEFAULT", "CRITICAL"],
        80: ["DEFAULT", "CRITICAL"],
        90: ["CRITICAL"],
        200: ["CRITICAL"],
    }
    assert memory_floor(5, 0) is LOW, "no limit is known"


@pytest.mark.parametrize(
    ("value", "source", "trusted", "expected"),
    [
        ("critical", "web", (), HIGH),
        (" Sheddable ", "web", (), LOW),
        ("default", "web", (), MIDDLE),
        ("", "web", (), MIDDLE),
        ("CRITICAL!", "web", (), MIDDLE),
        ("critical", "web", ("shop",), MIDDLE),
        ("critical", "shop", ("shop",), HIGH),
    ],
)
def test_a_priority_is_what_a_trusted_caller_says(value, source, trusted, expected):
    assert priority_of(value, source, trusted) is expected
