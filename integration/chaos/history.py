"""What the clients did and saw, in the order of one clock: the evidence that `verdict` judges.

Registers and the set are new ones after a while, so that the judge's work grows with the time and not with its square:
`chaos/r<number>/<epoch>` and `chaos/set/<era>/<member>`.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

OK: Final = "ok"
NOT_DONE: Final = "not done"
LOST: Final = "lost"
"""A compare-and-set that found another value."""
UNKNOWN: Final = "unknown"
EPOCH_S: Final = 20.0
ERA_S: Final = 240.0
LATENCIES_MAX: Final = 100_000


@dataclass
class Operation:
    """One request. `kind` is read, write or cas; `value` what was written or read (None: no such key), `expected` what a
    cas required the register to hold. `ended` is None while nobody knows how it ended: it may still happen at any time."""

    client: str
    key: str
    kind: str
    value: str | None = None
    expected: str | None = None
    began: float = 0.0
    ended: float | None = None
    outcome: str = UNKNOWN


@dataclass
class History:
    """Registers' operations, the members that were acknowledged into the set, what each watcher saw of it, and
    how often an agent gave its watcher an index lower than before."""

    era_s: float = ERA_S
    operations: list[Operation] = field(default_factory=list)
    acknowledged: dict[str, float] = field(default_factory=dict)
    attempted: set[str] = field(default_factory=set)
    watched: dict[str, set[str]] = field(default_factory=dict)
    went_back: Counter[str] = field(default_factory=Counter)
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_MAX))

    def begin(self, operation: Operation) -> Operation:
        """An operation begins now."""
        operation.began = time.monotonic()
        self.operations.append(operation)
        return operation

    def end(self, operation: Operation, outcome: str) -> None:
        """It ended. An unknown outcome has no end: the write may take effect later."""
        operation.outcome = outcome
        if outcome != UNKNOWN:
            operation.ended = time.monotonic()


def register_now(number: int) -> str:
    """The key of a register now."""
    return f"chaos/r{number}/{int(time.monotonic() / EPOCH_S)}"


def register_over(key: str) -> float:
    """When the last operation on a register begins."""
    return (int(key.rpartition("/")[2]) + 1) * EPOCH_S


def era_now() -> int:
    """The era of the set now."""
    return int(time.monotonic() / ERA_S)


def era_of(member: str) -> int:
    """The era of a member."""
    return int(member.split("/")[2])
