from __future__ import annotations

import random
from collections import Counter

from chowk.dns.answer import Entry
from chowk.dns.order import TURNS_MAX, cut, shuffle, turn, turns
from chowk.dns.records import AddressRecord


def entries(*weights: int) -> list[Entry]:
    return [Entry((AddressRecord((), 0, i.to_bytes(4, "big")),), weight=w) for i, w in enumerate(weights)]


def test_over_all_turns_each_of_equal_entries_stands_first_once() -> None:
    rng = random.Random(1)
    shuffled = shuffle(entries(*[1] * 10), rng)
    firsts = Counter(turn(shuffled, number, rng)[0] for number in range(turns(shuffled)))
    assert set(firsts.values()) == {1}
    assert len(firsts) == 10


def test_turns_are_bounded_and_there_is_always_one() -> None:
    assert turns([]) == 1
    assert turns(entries(*[1] * 1000)) == TURNS_MAX


def test_every_order_holds_every_entry() -> None:
    rng = random.Random(2)
    for weights in ([1] * 7, [1, 0, 5, 9]):
        all_of_them = entries(*weights)
        for number in range(turns(all_of_them)):
            assert sorted(map(repr, turn(all_of_them, number, rng))) == sorted(map(repr, all_of_them))


def test_first_places_follow_the_weights_and_weight_zero_comes_last() -> None:
    rng = random.Random(3)
    weighted = entries(9, 1, 0)
    orders = [shuffle(weighted, rng) for _ in range(2000)]
    firsts = Counter(order[0].weight for order in orders)
    assert 0.86 < firsts[9] / 2000 < 0.94
    assert all(order[-1].weight == 0 for order in orders)


def test_the_same_seed_gives_the_same_order() -> None:
    assert shuffle(entries(*[1] * 20), random.Random(5)) == shuffle(entries(*[1] * 20), random.Random(5))


def test_a_limit_of_zero_keeps_all() -> None:
    assert len(cut(entries(1, 1, 1), 0)) == 3
    assert len(cut(entries(1, 1, 1), 2)) == 2
