"""connect.balance.pool."""

import random
from collections import Counter

from chowk.connect.balance.hosts import Host
from chowk.connect.balance.pool import Pool
from support.balance_rig import endpoint, target


def hosts(*weights: int) -> list[Host]:
    made = [Host(target("t"), endpoint(f"h{n}", weight=weight)) for n, weight in enumerate(weights)]
    for host in made:
        host.available = True
    return made


def all_draws(pool: Pool) -> Counter[str]:
    """Each unit of weight drawn once."""
    return Counter(pool.draw((unit + 0.5) / pool.total).endpoint.key for unit in range(pool.total))


def test_an_empty_pool_draws_nothing():
    assert Pool([]).draw(0.5) is None


def test_each_host_is_drawn_exactly_as_often_as_it_weighs():
    assert all_draws(Pool(hosts(3, 1, 7, 1, 1))) == {"h0": 3, "h1": 1, "h2": 7, "h3": 1, "h4": 1}


def test_a_host_of_weight_0_counts_as_1():
    assert all_draws(Pool(hosts(0, 2))) == {"h0": 1, "h1": 2}


def test_shares_are_of_the_mean_weight():
    made = hosts(1, 3)
    Pool(made)
    assert [host.share for host in made] == [0.5, 1.5]


def test_any_order_of_putting_and_taking_draws_only_what_is_in_by_weight():
    rng = random.Random(5)
    for size in (1, 2, 3, 7, 8, 9, 31, 64, 100):
        made = hosts(*(rng.randrange(1, 9) for _ in range(size)))
        pool = Pool(made)
        for _ in range(200):
            host = rng.choice(made)
            (pool.put if rng.random() < 0.5 else pool.take)(host)
        assert all_draws(pool) == {host.endpoint.key: host.weight for host in made if host.available}
