"""A simulated server and its callers, in simulated time: what limits are proven against.

The server does `workers` requests at a time, each in about `service_s`, and queues the rest without bound, as an application
behind a listen backlog does. Callers give up after `timeout_s` (the server does not notice) and try again.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable

from chowk.connect.limits.admission import Admission, Priority, Verdict


class Clock:
    """Runs events in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._order), action))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _order, action = heapq.heappop(self._events)
            action()
        self.now = until


class Server:
    """`done` is called when the work of a request is over. `queue_max_seen` is how long the queue ever was."""

    def __init__(self, clock: Clock, rng: random.Random, workers: int, service_s: float) -> None:
        self.clock, self.rng = clock, rng
        self.workers, self.service_s = workers, service_s
        self.working = 0
        self.queue: deque[Callable[[], None]] = deque()
        self.queue_max_seen = 0

    def take(self, done: Callable[[], None]) -> None:
        self.queue.append(done)
        self.queue_max_seen = max(self.queue_max_seen, len(self.queue))
        self._work()

    def _work(self) -> None:
        while self.queue and self.working < self.workers:
            self.working += 1
            done = self.queue.popleft()
            took = self.service_s * self.rng.uniform(0.8, 1.2)
            self.clock.at(self.clock.now + took, lambda done=done: self._done(done))

    def _done(self, done: Callable[[], None]) -> None:
        self.working -= 1
        done()
        self._work()


def arrivals(
    clock: Clock, rng: random.Random, rate: Callable[[float], float], until: float, one: Callable[[], None]
) -> None:
    """Call `one` as a Poisson process of `rate(now)` a second until then."""

    def arrive() -> None:
        one()
        plan()

    def plan() -> None:
        when = clock.now + rng.expovariate(max(rate(clock.now), 1e-9))
        if when < until:
            clock.at(when, arrive)

    plan()


class Door:
    """The server behind an `Admission`, driven as a proxy drives it."""

    def __init__(self, clock: Clock, rng: random.Random, server: Server, door: Admission[Visit]) -> None:
        self.clock, self.rng, self.server, self.door = clock, rng, server, door
        self.waiting_max = 0
        self._timer = False

    def take(self, answer: Callable[[bool], None], priority: Priority = Priority.DEFAULT) -> None:
        """`answer(True)` when the work was done, `answer(False)` when it was shed."""
        visit = Visit(answer)
        verdict = self.door.arrive(self.clock.now, priority, visit)
        self.waiting_max = max(self.waiting_max, self.door.waiting)
        if verdict is Verdict.ADMITTED:
            self._begin(visit)
        elif verdict is Verdict.SHED:
            answer(False)
        self._effects()

    def _begin(self, visit: Visit) -> None:
        began = self.clock.now

        def done() -> None:
            self.door.leave(self.clock.now, self.clock.now - began, self.rng)
            visit.answer(True)
            self._effects()

        self.server.take(done)

    def _effects(self) -> None:
        for decision in self.door.take_effects():
            if decision.admitted:
                self._begin(decision.ticket)
            else:
                decision.ticket.answer(False)
        deadline = self.door.next_deadline()
        if deadline is not None and not self._timer:
            self._timer = True
            self.clock.at(max(deadline, self.clock.now + 1e-4), self._fire)

    def _fire(self) -> None:
        self._timer = False
        self.door.handle_timer(self.clock.now)
        self._effects()


class Visit:
    """A ticket."""

    def __init__(self, answer: Callable[[bool], None]) -> None:
        self.answer = answer
