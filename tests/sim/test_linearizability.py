"""The judge of histories, judged: known good and bad ones, and every small one against trying all orders."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from support.linearizability import Kind, Operation, is_linearizable

UNKNOWN = math.inf


def read(value: int, begin: float, end: float) -> Operation:
    return Operation(Kind.READ, value, None, begin, end)


def write(value: int, begin: float, end: float) -> Operation:
    return Operation(Kind.WRITE, value, None, begin, end)


def compare(value: int, expected: int, begin: float, end: float, *, won: bool = True) -> Operation:
    return Operation(Kind.COMPARE, value, expected, begin, end, won)


GOOD = {
    "nothing": [],
    "one after another": [write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7)],
    "a read beside a write sees the old value": [write(1, 0, 1), write(2, 2, 5), read(1, 3, 4)],
    "a read beside a write sees the new value": [write(1, 0, 1), write(2, 2, 5), read(2, 3, 4)],
    "a write of unknown outcome took effect late": [write(1, 0, UNKNOWN), read(0, 5, 6), read(1, 7, 8)],
    "a write of unknown outcome never took effect": [write(1, 0, UNKNOWN), read(0, 5, 6), read(0, 7, 8)],
    "a lost comparison explained by an unseen unknown write": [write(1, 0, UNKNOWN), compare(2, 0, 3, 4, won=False)],
    "two lost comparisons and two unknown writes": [
        write(1, 0, UNKNOWN), compare(9, 0, 1, 2, won=False), write(3, 3, 4), write(5, 0, UNKNOWN),
        compare(8, 3, 5, 6, won=False),
    ],
    "comparisons in a chain, one of them unknown": [compare(1, 0, 0, 1), compare(2, 1, 0, UNKNOWN), read(2, 4, 5)],
}  # fmt: skip
BAD = {
    "a read of what nobody wrote": [write(1, 0, 1), read(2, 2, 3)],
    "a stale read": [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)],
    "a lost write": [write(1, 0, 1), read(0, 2, 3)],
    "a read goes back": [write(1, 0, 10), read(1, 2, 3), read(0, 4, 5)],
    "a read of a write that was not asked for yet": [read(1, 0, 1), write(1, 2, 3)],
    "both of two comparisons won": [compare(1, 0, 0, 3), compare(2, 0, 1, 4)],
    "a comparison lost against what it expected": [write(1, 0, 1), compare(2, 1, 2, 3, won=False)],
    "an unknown write is seen, gone and seen again": [
        write(1, 0, UNKNOWN), read(1, 1, 2), write(3, 3, 4), read(3, 5, 6), read(1, 7, 8),
    ],
    "an unknown comparison is seen that cannot have won": [write(5, 0, 1), compare(1, 0, 2, UNKNOWN), read(1, 4, 5)],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_some_order_explains_is_linearizable(name: str) -> None:
    assert is_linearizable(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_no_order_explains_is_not(name: str) -> None:
    assert not is_linearizable(BAD[name])


def test_values_that_are_written_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        is_linearizable([write(1, 0, 1), write(1, 2, 3)])


def tried_in_every_order(history: list[Operation]) -> bool:
    """The definition itself: some known operations and any of the unknown ones, in an order that respects time."""
    known = [each for each in history if each.returned_s < UNKNOWN]
    unknown = [each for each in history if each.returned_s == UNKNOWN]
    return any(
        in_time(order) and explains(order)
        for count in range(len(unknown) + 1)
        for some in itertools.combinations(unknown, count)
        for order in itertools.permutations([*known, *some])
    )


def in_time(order: tuple[Operation, ...]) -> bool:
    return all(
        order[later].returned_s >= order[earlier].invoked_s
        for earlier in range(len(order))
        for later in range(earlier + 1, len(order))
    )


def explains(order: tuple[Operation, ...]) -> bool:
    register = 0
    for each in order:
        match each.kind:
            case Kind.READ:
                if each.value != register:
                    return False
            case Kind.WRITE:
                register = each.value
            case Kind.COMPARE:
                won = register == each.expected
                if each.returned_s < UNKNOWN and won != each.succeeded:
                    return False
                register = each.value if won else register
    return True


def drawn(rng: random.Random) -> list[Operation]:
    history: list[Operation] = []
    for value in range(1, rng.randint(2, 6)):
        begin = rng.randint(0, 8)
        end: float = begin + rng.randint(1, 4)
        match rng.randrange(3):
            case 0:
                history.append(read(rng.randint(0, 5), begin, end))
            case 1:
                history.append(write(value, begin, UNKNOWN if rng.random() < 0.3 else end))
            case 2:
                end = UNKNOWN if rng.random() < 0.3 else end
                history.append(compare(value, rng.randint(0, 5), begin, end, won=rng.random() < 0.5))
    return history


def test_small_histories_are_judged_as_by_trying_every_order() -> None:
    rng = random.Random(5)
    judged = [0, 0]
    for _ in range(3000):
        history = drawn(rng)
        expected = tried_in_every_order(history)
        assert is_linearizable(history) == expected, history
        judged[expected] += 1
    assert min(judged) > 500
