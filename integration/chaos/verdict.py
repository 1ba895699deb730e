"""The judge: was every register linearizable, is every acknowledged write there, did every watcher see every change?

Called in passing, for what is over, so that a run of hours needs no more memory than one of minutes; `close` has the
last word.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable
from typing import Final

from chaos.history import LOST, NOT_DONE, UNKNOWN, History, era_of, register_over
from chaos.history import Operation as Seen
from support.linearizability import Kind, Operation, SearchTooLong, is_linearizable

SHOWN_MAX: Final = 10
_KINDS: Final = {"read": Kind.READ, "write": Kind.WRITE, "cas": Kind.COMPARE}


class Verdict:
    """What was found so far. `read_set(era)` reads the set of an era as each agent has it, consistently."""

    def __init__(self, history: History, read_set: Callable[[int], dict[str, set[str]]]) -> None:
        self._history = history
        self._read_set = read_set
        self._outcomes: Counter[str] = Counter()
        self._acknowledged = 0
        self._attempted = 0
        self.problems: list[str] = []

    def judge(self, before: float) -> None:
        """Judge, and forget, the registers and sets that nobody used any more at the time `before` (monotonic seconds)."""
        history = self._history
        over: dict[str, list[Seen]] = {}
        kept = []
        for seen in history.operations:
            if register_over(seen.key) < before:
                over.setdefault(seen.key, []).append(seen)
            else:
                kept.append(seen)
        history.operations[: len(kept) + sum(map(len, over.values()))] = kept
        for key, operations in sorted(over.items()):
            self._outcomes.update(seen.outcome for seen in operations)
            self.problems += _register(key, operations)
        for era in sorted({era for era in map(era_of, list(history.attempted)) if (era + 1) * history.era_s < before}):
            self._judge_set(era)

    def _judge_set(self, era: int) -> None:
        history = self._history
        attempted = {member for member in history.attempted if era_of(member) == era}
        acknowledged = attempted & set(history.acknowledged)
        final = self._read_set(era)
        self._attempted += len(attempted)
        self._acknowledged += len(acknowledged)
        self.problems += _members(acknowledged, attempted, final)
        for agent, seen in sorted(history.watched.items()):
            missed = sorted(acknowledged - seen)
            if missed:
                self.problems.append(f"the watcher of {agent} missed {len(missed)}: {', '.join(missed[:SHOWN_MAX])}")
            seen -= attempted
        history.attempted -= attempted
        for member in acknowledged:
            del history.acknowledged[member]

    def close(self) -> int:
        """Print what was found; 0 when nothing is wrong."""
        self.judge(math.inf)
        history = self._history
        for agent, times in sorted(history.went_back.items()):
            if times:
                self.problems.append(f"the index that {agent} gave its watcher went back {times} times")
        outcomes = self._outcomes
        print(
            f"{outcomes.total()} operations ({', '.join(f'{outcomes[name]} {name}' for name in sorted(outcomes))}); "
            f"{self._acknowledged} of {self._attempted} members acknowledged; writes: "
            f"median {1000 * statistics.median(history.latencies_s or [0.0]):.0f} ms, "
            f"slowest {max(history.latencies_s, default=0.0):.1f} s"
        )
        if not self._acknowledged:
            self.problems.append("the clients did not get anything done: nothing was shown")
        for problem in self.problems[:SHOWN_MAX]:
            print(f"VIOLATION: {problem}")
        print("no violation" if not self.problems else f"{len(self.problems)} violations")
        return 1 if self.problems else 0


def _register(key: str, seen: list[Seen]) -> list[str]:
    operations = [
        _as_operation(each)
        for each in seen
        if each.outcome != NOT_DONE and not (each.kind == "read" and each.outcome == UNKNOWN)
    ]
    try:
        if is_linearizable(operations):
            return []
    except SearchTooLong as error:
        return [f"{key} cannot be judged: {error}"]
    return [f"{key} is not linearizable: {len(operations)} operations\n{_told(operations)}"]


def _as_operation(seen: Seen) -> Operation:
    ended = math.inf if seen.ended is None else seen.ended
    expected = _number(seen.expected) if seen.kind == "cas" else None
    return Operation(_KINDS[seen.kind], _number(seen.value), expected, seen.began, ended, seen.outcome != LOST)


def _number(value: str | None) -> int:
    return int(value.removeprefix("v")) if value else 0


def _told(operations: list[Operation]) -> str:
    first = min(operation.invoked_s for operation in operations)
    rows = sorted(operations, key=lambda operation: operation.invoked_s)
    return "\n".join(
        f"  {row.invoked_s - first:8.3f} {row.returned_s - first:8.3f} {row.kind.value:8} {row.value}"
        + (f" for {row.expected}{'' if row.succeeded else ' lost'}" if row.expected is not None else "")
        for row in rows
    )


def _members(acknowledged: set[str], attempted: set[str], final: dict[str, set[str]]) -> list[str]:
    problems = []
    for agent, members in sorted(final.items()):
        missing = sorted(acknowledged - members)
        if missing:
            problems.append(f"{agent} lost {len(missing)} acknowledged writes: {', '.join(missing[:SHOWN_MAX])}")
        strange = sorted(members - attempted)
        if strange:
            problems.append(f"{agent} has what nobody wrote: {', '.join(strange[:SHOWN_MAX])}")
    if len({frozenset(members) for members in final.values()}) > 1:
        problems.append("the agents do not agree on the set at the end")
    return problems
