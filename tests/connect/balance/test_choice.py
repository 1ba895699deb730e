"""connect.balance.choice."""

import random
from collections import Counter

from chowk.connect.balance.choice import choose
from chowk.connect.snapshot import Endpoint


def endpoints(*weights: int) -> list[Endpoint]:
    return [Endpoint(key=str(n), address="127.0.0.1", port=n, weight=weight) for n, weight in enumerate(weights)]


def spread(places: list[Endpoint], connections: int, avoid: frozenset[str] = frozenset()) -> Counter[str]:
    """Connections that stay open, so that each choice sees those before."""
    live: Counter[str] = Counter()
    rng = random.Random(7)
    for _ in range(connections):
        live[choose(places, live, avoid, rng).key] += 1
    return live


def test_nothing_to_choose_from_is_none():
    assert choose([], {}, (), random.Random(1)) is None


def test_open_connections_are_spread_evenly_far_better_than_by_chance():
    live = spread(endpoints(1, 1, 1, 1, 1), 1000)
    assert max(live.values()) - min(live.values()) <= 4


def test_of_two_the_less_loaded_is_always_taken():
    places = endpoints(1, 1)
    rng = random.Random(3)
    assert {choose(places, {"0": 5, "1": 1}, (), rng).key for _ in range(50)} == {"1"}


def test_an_instance_of_double_weight_carries_about_twice_as_many():
    live = spread(endpoints(2, 1), 300)
    assert 1.8 <= live["0"] / live["1"] <= 2.2


def test_avoided_instances_are_taken_only_when_there_is_no_other():
    places = endpoints(1, 1, 1)
    assert spread(places, 30, frozenset({"0", "2"})) == {"1": 30}
    assert set(spread(places, 30, frozenset({"0", "1", "2"}))) == {"0", "1", "2"}
