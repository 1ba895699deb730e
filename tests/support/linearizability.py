"""Is a history of one register linearizable? Wing and Gong's search with Lowe's memory of what was tried (2016).

Histories of different keys are checked each by itself (linearizability is local, Herlihy and Wing 1990). Called by the
simulation and by tests with real processes.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Final

CONFIGURATIONS_MAX: Final = 300_000
"""States that one search may visit; more is an error, not a pass."""


class Kind(enum.Enum):
    """What was asked of the register."""

    READ = "read"
    WRITE = "write"
    COMPARE = "compare"
    """Write if the register holds `expected`."""


class Operation:
    """What a client did. `returned_s` is infinite while nobody knows whether it happened; then it may have, at any time
    after `invoked_s`, or never. A read's `value` is what it saw, a write's what it wrote. A register begins with 0."""

    def __init__(
        self, kind: Kind, value: int, expected: int | None, invoked_s: float, returned_s: float, succeeded: bool = True
    ) -> None:
        self.kind = kind
        self.value = value
        self.expected = expected
        self.invoked_s = invoked_s
        self.returned_s = returned_s
        self.succeeded = succeeded

    def __repr__(self) -> str:
        text = f"{self.kind.value} {self.value}"
        if self.kind is Kind.COMPARE:
            text += f" for {self.expected}" + ("" if self.succeeded else " lost")
        return f"<{text}, {self.invoked_s:.3f} to {self.returned_s:.3f}>"


class SearchTooLong(Exception):
    """The history has too many operations at once to be judged."""


def is_linearizable(history: Sequence[Operation]) -> bool:
    """Whether some order of the operations, each between its invocation and its return, explains what they saw.

    Every value is written at most once (ValueError else): so one that was replaced never comes back, and an order that
    replaces it before all who saw it had their turn need not be followed. SearchTooLong after `CONFIGURATIONS_MAX` states.
    """
    search = _Search(history)
    seen: set[tuple[int, int]] = {(0, 0)}
    waiting = [(0, 0)]
    while waiting:
        done, register = waiting.pop()
        if done & search.everything == search.everything:
            return True
        for reached in search.steps(done, register):
            if reached not in seen:
                if len(seen) >= CONFIGURATIONS_MAX:
                    raise SearchTooLong(f"{len(history)} operations, too many of them at once or of unknown outcome")
                seen.add(reached)
                waiting.append(reached)
    return False


class _Search:
    """Operations as bits: first those that returned, by when; then the unknown ones, by when they were asked."""

    def __init__(self, history: Sequence[Operation]) -> None:
        known = sorted((each for each in history if each.returned_s < math.inf), key=lambda each: each.returned_s)
        unknown = [each for each in history if each.returned_s == math.inf and each.kind is not Kind.READ]
        unknown.sort(key=lambda each: each.invoked_s)
        self._operations = [*known, *unknown]
        self._known = len(known)
        self.everything = (1 << len(known)) - 1
        written = [each.value for each in self._operations if each.kind is not Kind.READ]
        if len(set(written) | {0}) != len(written) + 1:
            raise ValueError("a value was written twice, or 0 was")
        self._needed: dict[int, int] = {}
        """By value: the known operations that must find it."""
        for position, each in enumerate(known):
            if each.kind is Kind.READ or (each.kind is Kind.COMPARE and each.succeeded):
                value = each.value if each.kind is Kind.READ else each.expected or 0
                self._needed[value] = self._needed.get(value, 0) | 1 << position
        self._alike = self._unseen(known, unknown)

    def _unseen(self, known: Sequence[Operation], unknown: Sequence[Operation]) -> list[int]:
        """The unknown writes whose values nobody saw or asked for. All they can explain is a comparison that lost, and
        each does that as well as another: they need be tried in one order only, and without such a comparison not at all."""
        asked = {each.expected or 0 for each in self._operations if each.kind is Kind.COMPARE}
        alike = [
            len(known) + position
            for position, each in enumerate(unknown)
            if each.value not in self._needed and each.value not in asked and each.kind is Kind.WRITE
        ]
        self._pointless = 0
        if all(each.succeeded for each in known if each.kind is Kind.COMPARE):
            self._pointless = sum(1 << position for position in alike)
        return alike

    def steps(self, done: int, register: int) -> list[tuple[int, int]]:
        """Every state after one more operation; the last is the likeliest to lead on."""
        first = 0
        while done >> first & 1:
            first += 1
        returned_s = self._operations[first].returned_s if first < self._known else math.inf
        next_alike = next((position for position in self._alike if not done >> position & 1), -1)
        skipped = done | self._pointless
        found = []
        for position, operation in enumerate(self._operations):
            if skipped >> position & 1 or operation.invoked_s > returned_s:
                continue
            if position in self._alike and position != next_alike:
                continue
            after = _perform(operation, register)
            reached = done | 1 << position
            if after is None or (after != register and self._needed.get(register, 0) & ~reached):
                continue
            found.append((reached, after))
        found.reverse()
        return found


def _perform(operation: Operation, register: int) -> int | None:
    """The register after the operation; None when that does not explain what its client saw."""
    if operation.kind is Kind.READ:
        return register if operation.value == register else None
    if operation.kind is Kind.WRITE:
        return operation.value
    matches = register == operation.expected
    if operation.returned_s == math.inf:
        return operation.value if matches else None
    if matches != operation.succeeded:
        return None
    return operation.value if matches else register
