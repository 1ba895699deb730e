"""The judge: was every register linearizable, is every acknowledged write there, did every watcher see every change?"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from itertools import pairwise
from typing import Final

from chaos.history import LOST, NOT_DONE, OK, UNKNOWN, History
from chaos.history import Operation as Seen
from support.linearizability import Kind, Operation, SearchTooLong, is_linearizable

SHOWN_MAX: Final = 10
_KINDS: Final = {"read": Kind.READ, "write": Kind.WRITE, "cas": Kind.COMPARE}


def judge(history: History, final: dict[str, set[str]]) -> int:
    """Print what was found; 0 when nothing is wrong. `final` is the set as each agent has it at the end."""
    problems = [*_registers(history), *_members(history, final), *_watchers(history)]
    outcomes = Counter(operation.outcome for operation in history.operations)
    slowest = max(history.latencies_s, default=0.0)
    median_ms = 1000 * statistics.median(history.latencies_s or [0.0])
    print(
        f"{len(history.operations)} operations ({', '.join(f'{outcomes[name]} {name}' for name in sorted(outcomes))}); "
        f"{len(history.acknowledged)} of {len(history.attempted)} members acknowledged; "
        f"writes: median {median_ms:.0f} ms, slowest {slowest:.1f} s"
    )
    if not outcomes[OK] or not history.acknowledged:
        problems.append("the clients did not get anything done: nothing was shown")
    for problem in problems[:SHOWN_MAX]:
        print(f"VIOLATION: {problem}")
    print("no violation" if not problems else f"{len(problems)} violations")
    return 1 if problems else 0


def _registers(history: History) -> list[str]:
    by_key: dict[str, list[Operation]] = {}
    for seen in history.operations:
        if seen.outcome != NOT_DONE and not (seen.kind == "read" and seen.outcome == UNKNOWN):
            by_key.setdefault(seen.key, []).append(_as_operation(seen))
    problems = []
    for key, operations in sorted(by_key.items()):
        try:
            if not is_linearizable(operations):
                problems.append(f"{key} is not linearizable: {len(operations)} operations\n{_told(operations)}")
        except SearchTooLong as error:
            problems.append(f"{key} cannot be judged: {error}")
    return problems


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


def _members(history: History, final: dict[str, set[str]]) -> list[str]:
    problems = []
    for agent, members in sorted(final.items()):
        missing = sorted(set(history.acknowledged) - members)
        if missing:
            problems.append(f"{agent} lost {len(missing)} acknowledged writes: {', '.join(missing[:SHOWN_MAX])}")
        strange = sorted(members - history.attempted)
        if strange:
            problems.append(f"{agent} has what nobody wrote: {', '.join(strange[:SHOWN_MAX])}")
    if len({frozenset(members) for members in final.values()}) > 1:
        problems.append("the agents do not agree on the set at the end")
    return problems


def _watchers(history: History) -> list[str]:
    problems = []
    for agent, seen in sorted(history.watched.items()):
        missed = sorted(set(history.acknowledged) - seen)
        if missed:
            problems.append(f"the watcher of {agent} missed {len(missed)}: {', '.join(missed[:SHOWN_MAX])}")
    for agent, indexes in sorted(history.indexes.items()):
        back = sum(1 for before, after in pairwise(indexes) if after < before)
        if back:
            problems.append(f"the index that {agent} gave its watcher went back {back} times")
    return problems
