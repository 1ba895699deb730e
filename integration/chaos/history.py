"""What the clients did and saw, in the order of one clock: the evidence that `verdict` judges."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

OK: Final = "ok"
NOT_DONE: Final = "not done"
LOST: Final = "lost"
"""A compare-and-set that found another value."""
UNKNOWN: Final = "unknown"


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
    """Registers' operations, the members that were acknowledged into the set, and what each watcher saw of it."""

    operations: list[Operation] = field(default_factory=list)
    acknowledged: dict[str, float] = field(default_factory=dict)
    attempted: set[str] = field(default_factory=set)
    watched: dict[str, set[str]] = field(default_factory=dict)
    indexes: dict[str, list[int]] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)

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
