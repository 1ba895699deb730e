"""connect.balance.hashing, ring, maglev."""

import random
from collections import Counter

import pytest

from chowk.connect.balance.hashing import combine, hash_key, mixed, points, unit
from chowk.connect.balance.hosts import Outcome
from chowk.connect.balance.maglev import HOSTS_FEW, TABLE_SIZE, TABLE_SIZE_FEW
from chowk.connect.balance.ring import RING_SIZE_MAX, RING_SIZE_MIN, SIZE_WANTED, ring_counts
from chowk.connect.snapshot import Balance, Locality
from support.balance_rig import Scene, endpoint, target

_rng = random.Random(11)
KEYS = [_rng.getrandbits(64) for _ in range(4000)]
BOTH = pytest.mark.parametrize("policy", ["ring_hash", "maglev"])


def owners(scene: Scene) -> dict[int, str]:
    return {key: scene.name(key) for key in KEYS}


def moved(before: dict[int, str], after: dict[int, str]) -> float:
    return sum(before[key] != after[key] for key in KEYS) / len(KEYS)


def test_hashes_are_the_same_in_every_process_and_version():
    assert hash_key("user-42") == 0xA6EFE67B4DCAA06F
    assert points("t\0h0", 2) == points("t\0h0", 9)[:2]
    places = {policy: Scene(1, 1, 1, policy=policy).name(hash_key("user-42")) for policy in ("ring_hash", "maglev")}
    assert places == {"ring_hash": "h2", "maglev": "h0"}


def test_a_header_that_is_no_text_has_a_key_too():
    assert hash_key("caf\udce9") != hash_key("caf")


def test_keys_of_two_policies_depend_on_both_and_on_their_order():
    a, b = hash_key("a"), hash_key("b")
    assert len({combine(a, b), combine(b, a), combine(a, a), a, b}) == 5


def test_a_mixed_key_has_nothing_in_common_with_the_key():
    low = [unit(mixed(key)) for key in KEYS if unit(key) < 0.1]
    assert 0.45 < sum(low) / len(low) < 0.55


@BOTH
def test_a_key_always_goes_to_the_same_host_whatever_its_load(policy):
    scene = Scene(1, 1, 1, 1, policy=policy)
    first = owners(scene)
    scene.spread(500, hold=True)
    assert owners(scene) == first
    assert owners(Scene(1, 1, 1, 1, policy=policy, seed=99)) == first, "at every proxy"


@BOTH
def test_shares_follow_the_weights(policy):
    found = Counter(owners(Scene(1, 2, 1, policy=policy)).values())
    assert found["h1"] / len(KEYS) == pytest.approx(0.5, abs=0.06)
    assert found["h0"] / len(KEYS) == pytest.approx(0.25, abs=0.06)


@BOTH
def test_when_a_host_goes_only_its_keys_move_and_others_take_them_evenly(policy):
    every = [endpoint(f"h{n}") for n in range(10)]
    scene = Scene(policy=policy, targets=(target("t", *every),))
    before = owners(scene)
    scene.update(target("t", *(every[:4] + every[5:])))
    after = owners(scene)
    strays = [key for key in KEYS if before[key] != "h4" and before[key] != after[key]]
    assert len(strays) / len(KEYS) < (0.005 if policy == "ring_hash" else 0.06)
    assert len({after[key] for key in KEYS if before[key] == "h4"}) == 9
    scene.update(target("t", *every))
    assert owners(scene) == before


@BOTH
def test_a_host_left_out_for_a_moment_moves_only_its_own_keys_and_gets_them_back(policy):
    scene = Scene(*[1] * 6, policy=policy)
    before = owners(scene)
    scene.fail("h2", 5)
    after = owners(scene)
    assert {key for key in KEYS if before[key] != after[key]} == {key for key in KEYS if before[key] == "h2"}
    assert len({after[key] for key in KEYS if before[key] == "h2"}) == 5
    scene.now += 60
    assert owners(scene) == before


@BOTH
def test_without_a_key_picks_are_random(policy):
    assert min(Scene(1, 1, 1, policy=policy).spread(600).values()) > 150


@BOTH
def test_when_few_are_left_each_key_still_has_one_place(policy):
    scene = Scene(*[1] * 400, policy=policy)
    tried = tuple(scene.balancer.hosts)[:-2]
    picks = {key: scene.name(key, tried) for key in KEYS[:300]}
    assert set(picks.values()) == {"h398", "h399"}
    assert picks == {key: scene.name(key, tried) for key in KEYS[:300]}


def test_the_ring_has_consuls_sizes():
    assert sum(ring_counts([1] * 3)) >= RING_SIZE_MIN
    assert ring_counts([1, 1, 1], 10) == [4, 4, 4], "the least power of two that makes 10"
    assert ring_counts([1, 2], 3, 3) == [1, 2]
    assert ring_counts([1] * 10, 1024, 5) == [1] * 10, "one for each, whatever the maximum"
    assert sum(ring_counts([1] * 5000)) <= 2 * SIZE_WANTED
    assert sum(ring_counts([1] * 5000, 8_388_608, 8_388_608)) <= RING_SIZE_MAX
    assert sum(ring_counts([1, 65535], 1024)) <= RING_SIZE_MAX
    assert ring_counts([]) == []


def test_the_tables_sizes_are_prime():
    for size in (TABLE_SIZE, TABLE_SIZE_FEW):
        assert all(size % divisor for divisor in range(2, int(size**0.5) + 1))
    assert TABLE_SIZE_FEW > 30 * HOSTS_FEW


def test_a_maglev_host_has_its_share_to_a_slot():
    scene = Scene(*[1] * 100, policy="maglev")
    slots = Counter(scene.name(key) for key in range(TABLE_SIZE_FEW))
    assert max(slots.values()) - min(slots.values()) <= 1


def test_ring_sizes_of_a_new_configuration_take_effect():
    scene = Scene(1, 1, policy="ring_hash", balance=Balance(policy="ring_hash", ring_size_min=2, ring_size_max=2))
    uneven = Counter(owners(scene).values())
    scene.update(*scene_targets(2), balance=Balance(policy="ring_hash", ring_size_min=4096))
    even = Counter(owners(scene).values())
    assert abs(even["h0"] - even["h1"]) < 0.1 * len(KEYS)
    assert even != uneven


def test_a_key_stays_in_its_group_when_groups_share_the_traffic():
    near = [endpoint(f"n{n}", region="eu", zone="a") for n in range(4)]
    far = [endpoint(f"f{n}", region="eu", zone="b") for n in range(4)]
    scene = Scene(
        policy="maglev",
        targets=(target("t", *near, *far),),
        locality=Locality(region="eu", zone="a", prefer_near=True),
    )
    for name in ("n0", "n1"):
        scene.fail(name, 5, Outcome.ERROR)
    first = owners(scene)
    assert owners(scene) == first
    part = sum(name.startswith("f") for name in first.values()) / len(KEYS)
    assert part == pytest.approx(0.3, abs=0.03)
    assert len(Counter(first.values())) == 6, "those that went over use all of the far group"


def scene_targets(size: int):
    return (target("t", *(endpoint(f"h{n}") for n in range(size))),)
