"""connect.limits.concurrency: against a simulated server with more than enough callers."""

import random

import pytest

from chowk.connect.limits.admission import Admission
from chowk.connect.limits.concurrency import SAMPLES_MAX, AdaptiveLimit, FixedLimit
from support.server_sim import Clock, Door, Server, arrivals


class Scene:
    """`rate(now)` requests a second come to a server behind an adaptive limit; what is shed is not tried again."""

    def __init__(self, workers: int, service_s: float, rate, until: float, seed: int = 1) -> None:
        rng = random.Random(seed)
        self.clock = Clock()
        self.server = Server(self.clock, rng, workers, service_s)
        self.limit = AdaptiveLimit()
        self.door = Door(self.clock, rng, self.server, Admission(self.limit))
        self.done = 0
        arrivals(self.clock, rng, rate, until, lambda: self.door.take(self._answer))

    def _answer(self, done: bool) -> None:
        self.done += done

    def throughput(self, until: float) -> float:
        """Answers a second from now until then."""
        before, began = self.done, self.clock.now
        self.clock.run(until)
        return (self.done - before) / (until - began)


@pytest.mark.parametrize(("workers", "service_s"), [(4, 0.02), (20, 0.05), (50, 0.1), (10, 1.0)])
def test_the_limit_settles_where_the_server_is_busy_and_its_queue_short(workers, service_s):
    capacity = workers / service_s
    scene = Scene(workers, service_s, lambda _now: 3 * capacity, 80)
    scene.clock.run(30)
    limits, answers = [], 0.0
    for second in range(31, 81):
        answers += scene.throughput(second)
        limits.append(scene.limit.limit)
    assert answers / 50 >= 0.93 * capacity
    assert workers <= sorted(limits)[25] <= 2 * workers, "in the middle of them"
    assert scene.limit.least_s == pytest.approx(service_s, rel=0.15)


def test_a_first_guess_that_was_far_too_high_comes_down():
    scene = Scene(1, 0.01, lambda _now: 300, 120)
    scene.clock.run(120)
    assert scene.limit.limit <= 8
    assert scene.limit.least_s < 0.06


def test_a_surge_is_met_at_capacity_after_hours_of_little_and_then_forgotten():
    scene = Scene(20, 0.05, lambda now: 8000 if 60 <= now < 70 else 200, 90)
    scene.clock.run(60)
    assert scene.limit.limit <= 100, "quiet hours prove nothing"
    assert scene.throughput(62) >= 0.9 * 400
    assert scene.throughput(70) >= 0.95 * 400
    scene.clock.run(72)
    shed = sum(scene.door.door.shed_total.values())
    assert scene.throughput(90) == pytest.approx(200, rel=0.1)
    assert sum(scene.door.door.shed_total.values()) == shed


def test_a_server_that_becomes_slower_is_measured_anew():
    scene = Scene(20, 0.05, lambda _now: 1200, 60)
    scene.clock.run(30)
    scene.server.service_s = 0.1
    scene.clock.run(35)
    assert scene.throughput(60) >= 0.95 * 200
    assert scene.limit.least_s == pytest.approx(0.1, rel=0.15)


def test_a_server_that_loses_half_of_its_workers_gets_half():
    scene = Scene(20, 0.05, lambda _now: 1200, 60)
    scene.clock.run(30)
    scene.server.workers = 10
    scene.clock.run(35)
    assert scene.throughput(60) >= 0.95 * 200
    assert scene.limit.limit <= 20


def test_the_limit_stays_within_what_is_configured_whatever_is_measured():
    limit, rng = AdaptiveLimit(5, 30), random.Random(3)
    for number in range(20_000):
        limit.sample(number / 1000, rng.choice((0.0, 1e-9, 0.01, 5.0)), rng.randrange(1, 31), rng)
        assert 5 <= limit.limit <= 30
    assert AdaptiveLimit(50, 10).limit == 10
    assert len(limit._samples) <= SAMPLES_MAX


def test_a_fixed_limit_learns_nothing():
    limit = FixedLimit(7)
    limit.sample(1.0, 9.0, 7, random.Random(1))
    assert limit.limit == 7
