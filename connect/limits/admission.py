"""The door of one instance: so many requests in work, a short bounded queue, the rest shed, low priority first. Pure.

The queue is Facebook's (Maurer, "Fail at Scale", ACM Queue 2015), a controlled delay after CoDel (RFC 8289): nobody waits
longer than WAIT_S; once the queue has not been empty for WAIT_S, nobody waits longer than WAIT_S_OVERLOADED and the newest
goes first. So a queue may take up a burst, but not make everybody late: its oldest would time out at their callers anyway,
work done for nobody. Each priority has such a queue, and those below it do not make it full: a crowd of sheddable requests
leaves the few critical ones their time to wait for the next place, which is theirs. Driven by the inbound proxy: `arrive`,
`leave`, `withdraw`, and `handle_timer` at `next_deadline`, each followed by `take_effects`.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Collection, Hashable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

WAIT_S: Final = 0.1
WAIT_S_OVERLOADED: Final = 0.02
QUEUE_MIN: Final = 16
QUEUE_MAX: Final = 1024
"""The queue holds as many as may be in work, but within these."""
MEMORY_FLOORS: Final = (0.80, 0.90)
"""Parts of the memory allowed, from which `sheddable`, and then `default` too, is shed."""

Ticket = TypeVar("Ticket", bound=Hashable)


class Priority(enum.IntEnum):
    """Of a request. Lower ones are shed first."""

    SHEDDABLE = 0
    DEFAULT = 1
    CRITICAL = 2


class Verdict(enum.Enum):
    """Of an arrival."""

    ADMITTED = "admitted"
    WAITING = "waiting"
    SHED = "shed"


class Decision(msgspec.Struct, Generic[Ticket], frozen=True):
    """What became of a waiting ticket: `admitted` (then it must `leave` later), or shed."""

    ticket: Ticket
    admitted: bool


class ConcurrencyLimit(Protocol):
    """`concurrency.FixedLimit` or `AdaptiveLimit`."""

    @property
    def limit(self) -> int:
        """Requests that may be in work; 0 is no limit."""

    def sample(self, now: float, latency_s: float, inside: int, rng: random.Random) -> None:
        """A request took so long."""


class Admission(Generic[Ticket]):
    """`inside`: in work now. `shed_total` is by priority; `waited_total` counts those that waited and were admitted."""

    def __init__(self, limit: ConcurrencyLimit) -> None:
        self.limit = limit
        self.inside = 0
        self.admitted_total = 0
        self.waited_total = 0
        self.shed_total = dict.fromkeys(Priority, 0)
        self.floor = Priority.SHEDDABLE
        """Requests below it are shed at once; set from `memory_floor`."""
        self._queues: dict[Priority, dict[Ticket, float]] = {each: {} for each in sorted(Priority, reverse=True)}
        self._empty_at = dict.fromkeys(Priority, 0.0)
        """When nobody of this priority, or of a higher one, waited last."""
        self._effects: list[Decision[Ticket]] = []

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(map(len, self._queues.values()))

    def arrive(self, now: float, priority: Priority, ticket: Ticket) -> Verdict:
        """A request came. WAITING: `take_effects` will say more; ADMITTED: it must `leave` later."""
        if priority < self.floor:
            self.shed_total[priority] += 1
            return Verdict.SHED
        self._expire(now)
        limit = self.limit.limit
        waiting = self.waiting
        if not limit or (self.inside < limit and not waiting):
            self.inside += 1
            self.admitted_total += 1
            return Verdict.ADMITTED
        self._note_empty(now, priority)
        if waiting >= min(max(limit, QUEUE_MIN), QUEUE_MAX) and not self._displace(priority):
            self.shed_total[priority] += 1
            return Verdict.SHED
        self._queues[priority][ticket] = now
        self._admit(now)
        return Verdict.WAITING

    def leave(self, now: float, latency_s: float | None, rng: random.Random) -> None:
        """One that was admitted has ended. `latency_s` None: it says nothing of the server's speed (a caller that went away,
        an error that came at once); one that timed out says how long it took until then.
        """
        if not self.inside:
            raise ValueError("nobody is inside")
        if latency_s is not None:
            self.limit.sample(now, latency_s, self.inside, rng)
        self.inside -= 1
        self._expire(now)
        self._admit(now)

    def withdraw(self, ticket: Ticket) -> bool:
        """The caller of a waiting ticket went away. False when it does not wait any more."""
        return any(queue.pop(ticket, None) is not None for queue in self._queues.values())

    def handle_timer(self, now: float) -> None:
        """Shed who has waited for too long."""
        self._expire(now)
        self._admit(now)

    def next_deadline(self) -> float | None:
        """When `handle_timer` has something to do; None: never, as nobody waits."""
        return min(
            (
                min(oldest + WAIT_S, max(oldest + WAIT_S_OVERLOADED, self._empty_at[priority] + WAIT_S))
                for priority, queue in self._queues.items()
                if queue and (oldest := next(iter(queue.values()))) is not None
            ),
            default=None,
        )

    def take_effects(self) -> list[Decision[Ticket]]:
        """What has been decided of waiting tickets since the last call."""
        effects, self._effects = self._effects, []
        return effects

    def _note_empty(self, now: float, priority: Priority) -> None:
        for each, queue in self._queues.items():
            if queue:
                return
            if each <= priority:
                self._empty_at[each] = now

    def _overloaded(self, now: float, priority: Priority) -> bool:
        """Whether the queue of this priority and above has not been empty for a while. Meaningful while it is not."""
        return now >= self._empty_at[priority] + WAIT_S

    def _admit(self, now: float) -> None:
        """Let in who waits, the most important first; of equals the oldest, or in an overload the newest."""
        for priority, queue in self._queues.items():
            while queue and (self.inside < self.limit.limit or not self.limit.limit):
                ticket = next(reversed(queue)) if self._overloaded(now, priority) else next(iter(queue))
                del queue[ticket]
                self.inside += 1
                self.admitted_total += 1
                self.waited_total += 1
                self._effects.append(Decision(ticket, admitted=True))

    def _expire(self, now: float) -> None:
        for priority, queue in self._queues.items():
            wait_s = WAIT_S_OVERLOADED if self._overloaded(now, priority) else WAIT_S
            while queue:
                ticket = next(iter(queue))
                if queue[ticket] + wait_s > now:  # the sum of `next_deadline`, so that its timer finds something to do
                    break
                self._shed(priority, ticket)

    def _displace(self, priority: Priority) -> bool:
        """Shed the newest of the least important, if it is less important than `priority`."""
        for least in Priority:
            if least >= priority:
                return False
            if self._queues[least]:
                self._shed(least, next(reversed(self._queues[least])))
                return True
        return False

    def _shed(self, priority: Priority, ticket: Ticket) -> None:
        del self._queues[priority][ticket]
        self.shed_total[priority] += 1
        self._effects.append(Decision(ticket, admitted=False))


def priority_of(value: str, source: str, trusted: Collection[str]) -> Priority:
    """What a request's priority header says (`critical`, `default`, `sheddable`), from a caller that is trusted with it.

    `source` is the proven caller, `trusted` the names of `Concurrency.trusted_callers` (empty: all are).
    """
    if trusted and source not in trusted:
        return Priority.DEFAULT
    return {"critical": Priority.CRITICAL, "sheddable": Priority.SHEDDABLE}.get(value.strip().lower(), Priority.DEFAULT)


def memory_floor(used_bytes: int, allowed_bytes: int) -> Priority:
    """The lowest priority that may still come in, when so much of the memory is used. Critical requests always may:
    what they cost is bounded by the limits of connections.
    """
    part = used_bytes / allowed_bytes if allowed_bytes else 0.0
    if part >= MEMORY_FLOORS[1]:
        return Priority.CRITICAL
    return Priority.DEFAULT if part >= MEMORY_FLOORS[0] else Priority.SHEDDABLE
