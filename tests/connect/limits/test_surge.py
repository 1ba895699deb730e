"""A surge of 50 times a service's capacity, retries on top: with the limits it serves on, without them it never recovers."""

import random

import pytest

from chowk.connect.limits.admission import QUEUE_MAX, QUEUE_MIN, Admission, Priority
from chowk.connect.limits.concurrency import AdaptiveLimit, FixedLimit
from chowk.connect.limits.retry_budget import RetryBudget
from support.server_sim import Clock, Door, Server, arrivals

WORKERS, SERVICE_S = 5, 0.05
CAPACITY = WORKERS / SERVICE_S
TIMEOUT_S = 1.0
TRIES = 4
BACKOFF_S = 0.025
SURGE_FROM, SURGE_UNTIL, END = 20.0, 25.0, 45.0


class Everybody:
    """Callers at half of the capacity, 50 times the capacity in the surge. Each tries TRIES times."""

    def __init__(self, door: Admission | None, budget: RetryBudget | None, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.server = Server(self.clock, self.rng, WORKERS, SERVICE_S)
        self.door = Door(self.clock, self.rng, self.server, door) if door is not None else None
        self.budget = budget
        self.requests: list[int] = [0] * int(END)
        self.good: list[int] = [0] * int(END)
        self.good_by_priority = dict.fromkeys(Priority, 0)
        self.tries = 0
        arrivals(self.clock, self.rng, self.rate, END - 2 * TIMEOUT_S * TRIES, self.request)
        self.clock.run(END)

    @staticmethod
    def rate(now: float) -> float:
        return CAPACITY * (50 if SURGE_FROM <= now < SURGE_UNTIL else 0.5)

    def request(self) -> None:
        """A new request: counted as good in the second of its answer, if that comes before its try has timed out."""
        now = self.clock.now
        self.requests[int(now)] += 1
        if self.budget is not None:
            self.budget.request(now)
        self.attempt(TRIES, self.rng.choices(list(Priority), (2, 6, 2))[0])

    def attempt(self, tries: int, priority: Priority) -> None:
        self.tries += 1
        answered = [False]
        began = self.clock.now

        def answer(done: bool) -> None:
            if answered[0]:
                return
            answered[0] = True
            if done:
                self.good[min(int(self.clock.now), int(END) - 1)] += 1
                if SURGE_FROM <= began < SURGE_UNTIL:
                    self.good_by_priority[priority] += 1
            elif tries > 1 and (self.budget is None or self.budget.take(self.clock.now)):
                wait_s = BACKOFF_S * 2 ** (TRIES - tries) * self.rng.random()
                self.clock.at(self.clock.now + wait_s, lambda: self.attempt(tries - 1, priority))

        if self.door is not None:
            self.door.take(answer, priority)
        else:
            self.server.take(lambda: answer(True))
        self.clock.at(began + TIMEOUT_S, lambda: answer(False))

    def goodput(self, start: float, end: float) -> float:
        """Good answers a second."""
        return sum(self.good[int(start) : int(end)]) / (end - start)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("limit", [FixedLimit(int(WORKERS * 1.5)), AdaptiveLimit()], ids=["fixed", "adaptive"])
def test_with_limits_a_surge_is_served_at_capacity_and_over_when_it_is_over(limit, seed):
    limit = FixedLimit(limit.limit) if isinstance(limit, FixedLimit) else AdaptiveLimit()
    budget = RetryBudget()
    them = Everybody(Admission(limit), budget, seed)
    assert them.goodput(SURGE_FROM, SURGE_UNTIL) >= 0.8 * CAPACITY
    recovered = SURGE_UNTIL + 3
    after = slice(int(recovered), int(END - 2 * TIMEOUT_S * TRIES))
    assert sum(them.good[after]) >= 0.98 * sum(them.requests[after])
    assert them.tries <= 1.25 * sum(them.requests) + 3 * END, "retries did not make it worse"
    assert them.server.queue_max_seen <= 200
    assert them.door.waiting_max <= min(max(QUEUE_MIN, 200), QUEUE_MAX)
    important = them.good_by_priority[Priority.CRITICAL]
    assert important >= 0.9 * sum(them.good_by_priority.values()), "there were more of them alone than could be served"


def test_without_limits_the_same_surge_is_a_collapse_that_does_not_end():
    them = Everybody(None, None, 1)
    assert them.goodput(10, 20) >= 0.45 * CAPACITY, "before it all was well"
    assert them.goodput(SURGE_FROM + 2, SURGE_UNTIL) < 0.05 * CAPACITY
    assert them.goodput(SURGE_UNTIL + 10, END) < 0.05 * CAPACITY
    assert them.server.queue_max_seen > 50_000


def test_a_retry_budget_alone_does_not_save_it():
    them = Everybody(None, RetryBudget(), 1)
    assert them.goodput(SURGE_UNTIL + 10, END) < 0.05 * CAPACITY
