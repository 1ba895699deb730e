"""connect.balance.policies and hosts: turns, chance, load, latency."""

import random
import time
from collections import Counter

import pytest

from chowk.connect.balance.hosts import Outcome
from chowk.connect.snapshot import Balance, Outlier
from support.balance_rig import Scene, endpoint, target

POLICIES = ("peak_ewma", "round_robin", "least_request", "random", "ring_hash", "maglev")


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_finds_nothing_in_nothing_and_the_only_host_in_one(policy):
    assert Scene(policy=policy, targets=(target("t"),)).pick() is None
    scene = Scene(1, policy=policy)
    assert [scene.name(key) for key in (None, 0, 2**64 - 1)] == ["h0"] * 3


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_picks_what_is_excluded(policy):
    scene = Scene(1, 1, 1, policy=policy)
    tried = (scene.host("h0"), scene.host("h2"))
    assert {scene.name(key, tried) for key in range(50)} == {"h1"}
    assert scene.name(1, tuple(scene.balancer.hosts)) is None
    assert set(scene.spread(300)) >= {"h0", "h1"}, "they come back for the next request"


@pytest.mark.parametrize("policy", POLICIES)
def test_weights_are_respected(policy):
    scene = Scene(4, 1, 1, 2, policy=policy)
    keys = random.Random(3)
    found = Counter(scene.name(keys.getrandbits(64)) for _ in range(8000))
    for name, part in {"h0": 4 / 8, "h1": 1 / 8, "h2": 1 / 8, "h3": 2 / 8}.items():
        assert found[name] / 8000 == pytest.approx(part, rel=0.20)


@pytest.mark.parametrize("policy", ["peak_ewma", "least_request"])
def test_requests_in_work_spread_by_weight_far_better_than_by_chance(policy):
    even = Scene(1, 1, 1, 1, 1, policy=policy).spread(1000, hold=True)
    assert max(even.values()) - min(even.values()) <= 4
    two_to_one = Scene(2, 1, policy=policy).spread(300, hold=True)
    assert 1.8 <= two_to_one["h0"] / two_to_one["h1"] <= 2.2


def test_one_heavy_host_among_many_gets_its_share_although_two_are_compared():
    held = Scene(*([10] + [1] * 10)).spread(4000, hold=True)
    assert held["h0"] / 4000 == pytest.approx(0.5, abs=0.03)


def test_turns_are_exact_and_smooth():
    scene = Scene(3, 1, 1, policy="round_robin")
    names = [scene.name() for _ in range(500)]
    assert Counter(names) == {"h0": 300, "h1": 100, "h2": 100}
    windows = [names[at : at + 5].count("h0") for at in range(495)]
    assert min(windows) >= 2
    assert max(windows) <= 4


def test_turns_of_different_proxies_begin_at_different_hosts():
    firsts = {Scene(*[1] * 10, policy="round_robin", seed=seed).name() for seed in range(30)}
    assert len(firsts) >= 5


def test_who_was_away_has_no_turns_to_catch_up_on():
    scene = Scene(1, 1, 1, policy="round_robin")
    away = (scene.host("h0"),)
    for _ in range(100):
        scene.pick(exclude=away)
    assert all(9 <= count <= 11 for count in Counter(scene.name() for _ in range(30)).values())


def serve(scene: Scene, latencies_s: dict[str, float], seconds: float, per_second: int) -> Counter[str]:
    """Requests at a steady rate to hosts of these latencies; where they went."""
    found: Counter[str] = Counter()
    work: list[tuple[float, object, float]] = []
    for _ in range(int(seconds * per_second)):
        scene.now += 1 / per_second
        for ended in [each for each in work if each[0] <= scene.now]:
            work.remove(ended)
            scene.end(ended[1], latency_s=ended[2])
        host = scene.pick()
        scene.balancer.started(host)
        took = latencies_s[host.endpoint.key]
        work.append((scene.now + took, host, took))
        found[host.endpoint.key] += 1
    return found


def test_a_slow_host_gets_little_and_one_that_recovers_gets_its_share_again():
    scene = Scene(1, 1, 1, 1)
    fast = dict.fromkeys(("h0", "h1", "h2"), 0.01)
    slow = serve(scene, fast | {"h3": 0.5}, 20, 200)
    assert slow["h3"] < 0.03 * 4000
    healed = serve(scene, fast | {"h3": 0.01}, 60, 200)
    assert healed["h3"] > 0.15 * 12000


def test_equals_share_a_quiet_service_and_twice_as_slow_is_not_equal():
    """Without a margin the quickest by a hair had all requests for many seconds, and the others went cold."""
    fewest, slow = [], []
    for seed in range(10):
        scene, chance = Scene(1, 1, 1, seed=seed), random.Random(seed)
        found: Counter[str] = Counter()
        for _ in range(600):
            scene.now += 1 / 30
            host = scene.pick()
            scene.balancer.started(host)
            name = host.endpoint.key
            scene.end(host, latency_s=chance.uniform(0.9, 1.1) * {"h0": 0.003, "h1": 0.0032, "h2": 0.0034}[name])
            found[name] += 1
        fewest.append(min(found.values()))
        slow.append(serve(Scene(1, 1, seed=seed), {"h0": 0.003, "h1": 0.007}, 20, 30)["h1"])
    assert min(fewest) > 120
    assert max(slow) < 60


def test_a_new_host_is_tried_with_one_request_until_it_has_answered():
    scene = Scene(1, 1, 1)
    serve(scene, dict.fromkeys(("h0", "h1", "h2"), 0.01), 5, 100)
    scene.update(target("t", *(endpoint(f"h{n}") for n in range(4))))
    found = Counter()
    for _ in range(40):
        host = scene.pick()
        scene.balancer.started(host)
        found[host.endpoint.key] += 1
        if host.endpoint.key != "h3":
            scene.end(host, latency_s=0.01)
    assert found["h3"] == 1


def test_who_fails_at_once_does_not_attract_as_the_fastest():
    scene = Scene(1, 1, 1, 1, outlier=Outlier(max_failures=0))
    failed = 0
    for _ in range(20_000):
        scene.now += 0.005
        host = scene.pick()
        scene.balancer.started(host)
        bad = host.endpoint.key == "h0"
        failed += bad
        scene.end(host, Outcome.ERROR if bad else Outcome.OK, 0.0001 if bad else 0.01)
    assert failed < 200


def test_least_request_compares_as_many_as_configured():
    scene = Scene(*[1] * 8, policy="least_request", balance=Balance(policy="least_request", choices=8))
    held = scene.spread(400, hold=True)
    assert set(held.values()) == {50}, "the least loaded of all, each time"


def test_a_policy_that_is_not_known_is_the_default():
    assert Scene(1, 1, policy="of_tomorrow").spread(100, hold=True) == Scene(1, 1).spread(100, hold=True)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pick_among_5000_costs_about_as_much_as_among_10(policy):
    def seconds(size: int) -> float:
        scene = Scene(*[1] * size, policy=policy)
        key = scene.rng.getrandbits
        scene.pick(key(64))
        best = 1.0
        for _ in range(5):
            started = time.perf_counter()
            for _ in range(200):
                scene.pick(key(64))
            best = min(best, time.perf_counter() - started)
        return best

    assert seconds(5000) < 20 * seconds(10), "a scan would be 500 times"
