"""connect.balance.cluster: passive health, groups, panic, limits, changes of endpoints."""

import math
import random

import pytest

from chowk.connect.balance.cluster import ALL_FULL, ALL_TRIED, FAILURES_IN_A_ROW, NO_HOST, NOT_DIALLED
from chowk.connect.balance.hosts import Outcome
from chowk.connect.snapshot import Balance, Limits, Locality, Outlier
from support.balance_rig import Scene, endpoint, target

POLICIES = ("peak_ewma", "round_robin", "least_request", "random", "ring_hash", "maglev")
HARD = Outlier(max_failures=3, ejection_s=10.0, ejected_percent_max=100)


def picked(scene: Scene, picks: int = 200) -> set[str]:
    return {scene.name(scene.rng.getrandbits(64)) for _ in range(picks)}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_of_failures_ejects_and_time_brings_back(policy):
    scene = Scene(1, 1, 1, 1, policy=policy, outlier=HARD)
    scene.fail("h1", 2)
    assert len(scene.balancer.ejected) == 0
    scene.fail("h1", 1)
    assert picked(scene) == {"h0", "h2", "h3"}
    scene.now += 9.9
    assert "h1" not in picked(scene)
    scene.now += 1.2
    scene.pick()
    assert len(scene.balancer.ejected) == 0
    scene.now += 40
    assert picked(scene, 2000) == {"h0", "h1", "h2", "h3"}, "at the latest when its faults are forgotten"


def test_who_is_left_out_is_told_with_the_reason_and_the_time():
    told = []
    scene = Scene(1, 1, outlier=HARD)
    scene.balancer._on_ejected = lambda host, out_s: told.append((host.endpoint.key, host.why, out_s))
    scene.fail("h0", 3)
    scene.fail("h1", 1, Outcome.UNREACHABLE)
    (first, second) = told
    assert first[:2] == ("h0", FAILURES_IN_A_ROW)
    assert 10.0 <= first[2] <= 11.0
    assert second[:2] == ("h1", NOT_DIALLED)
    assert {host.endpoint.key for host in scene.balancer.ejected} == {"h0", "h1"}


def test_one_success_ends_a_run_and_a_caller_that_went_away_changes_nothing():
    scene = Scene(1, 1, outlier=HARD)
    scene.fail("h0", 2)
    scene.fail("h0", 1, Outcome.OK)
    scene.fail("h0", 2)
    scene.fail("h0", 10, Outcome.CANCELLED)
    assert len(scene.balancer.ejected) == 0
    scene.fail("h0", 1, Outcome.ERROR)
    assert len(scene.balancer.ejected) == 1


def test_ejections_grow_and_good_intervals_take_the_growth_back():
    scene = Scene(1, 1, outlier=Outlier(max_failures=3, ejection_s=10.0, interval_s=10.0))
    lasted = []
    for _ in range(4):
        scene.fail("h0", 3)
        lasted.append(scene.host("h0").until - scene.now)
        scene.now = scene.host("h0").until
        scene.pick()
    assert [int(each / 11 + 0.99) for each in lasted] == [1, 2, 3, 4]
    scene.now += 30
    scene.fail("h0", 3)
    assert 20 <= scene.host("h0").until - scene.now <= 22


def test_hosts_ejected_at_once_return_at_different_times():
    scene = Scene(*[1] * 20, outlier=HARD)
    for number in range(10):
        scene.fail(f"h{number}", 3)
    ends = [scene.host(f"h{number}").until for number in range(10)]
    assert len(set(ends)) == 10
    assert all(10 <= end - scene.now <= 11 for end in ends)


def test_no_more_than_the_configured_part_is_ejected_but_one_always_may_be():
    scene = Scene(*[1] * 10, outlier=Outlier(max_failures=3, ejected_percent_max=30))
    for number in range(10):
        scene.fail(f"h{number}", 3)
    assert len(scene.balancer.ejected) == 3
    scene = Scene(1, 1, 1, outlier=Outlier(max_failures=3, ejected_percent_max=10))
    scene.fail("h0", 3)
    scene.fail("h1", 3)
    assert len(scene.balancer.ejected) == 1


def test_detection_can_be_enforced_for_a_part_only_or_be_off():
    for percent, expected in ((0, 0), (50, 500), (100, 1000)):
        scene = Scene(*[1] * 1000, outlier=Outlier(max_failures=1, ejected_percent_max=100, enforcing_percent=percent))
        for host in list(scene.balancer.hosts):
            scene.balancer.started(host)
            scene.end(host, Outcome.ERROR)
        assert abs(len(scene.balancer.ejected) - expected) <= 60
    scene = Scene(1, 1, outlier=Outlier(max_failures=0))
    scene.fail("h0", 100)
    assert len(scene.balancer.ejected) == 0


def intervals(scene: Scene, rates: dict[str, float], requests: int) -> None:
    """An interval of requests with these success rates; failures come one in so many, never three in a row."""
    for name, rate in rates.items():
        every = round(1 / (1 - rate)) if rate < 1 else math.inf
        host = scene.host(name)
        for number in range(requests):
            scene.balancer.started(host)
            scene.end(host, Outcome.ERROR if every != math.inf and number % every == 0 else Outcome.OK)
    scene.now += 11
    scene.fail(next(iter(rates)), 1, Outcome.OK)


def test_a_success_rate_far_below_the_others_ejects_without_any_run():
    scene = Scene(*[1] * 6, outlier=HARD)
    intervals(scene, {f"h{n}": 1.0 for n in range(6)}, 1)
    intervals(scene, {f"h{n}": 1.0 for n in range(5)} | {"h5": 0.5}, 200)
    assert [host.endpoint.key for host in scene.balancer.hosts if host.until] == ["h5"]


def test_what_is_not_enforced_ejects_by_its_success_rate_neither():
    scene = Scene(*[1] * 6, outlier=Outlier(enforcing_percent=0))
    intervals(scene, {f"h{n}": 1.0 for n in range(6)}, 1)
    intervals(scene, {f"h{n}": 1.0 for n in range(5)} | {"h5": 0.5}, 200)
    assert len(scene.balancer.ejected) == 0


def test_a_success_rate_a_little_below_or_of_few_requests_says_nothing():
    scene = Scene(*[1] * 6, outlier=HARD)
    intervals(scene, {f"h{n}": 1.0 for n in range(6)}, 1)
    intervals(scene, {f"h{n}": 1.0 for n in range(5)} | {"h5": 0.98}, 200)
    intervals(scene, {f"h{n}": 1.0 for n in range(5)} | {"h5": 0.5}, 50)
    intervals(scene, {f"h{n}": 0.5 for n in range(6)}, 200)
    assert len(scene.balancer.ejected) == 0


def test_who_cannot_be_dialled_is_passed_over_at_once_longer_each_time_until_it_is_reached():
    scene = Scene(1, 1, 1)
    pauses = []
    for _ in range(7):
        scene.fail("h0", 50, Outcome.UNREACHABLE)
        assert picked(scene) == {"h1", "h2"}
        pauses.append(scene.host("h0").until - scene.now)
        scene.now = scene.host("h0").until
        scene.pick()
    assert [round(pause / 1.05, 1) for pause in pauses] == pytest.approx([0.5, 1, 2, 4, 8, 8, 8], rel=0.06)
    scene.balancer.reached(scene.host("h0"))
    scene.fail("h0", 1, Outcome.UNREACHABLE)
    assert scene.host("h0").until - scene.now <= 0.55
    scene.balancer.reached(scene.host("h0"))
    assert scene.host("h0").available, "reached as a last resort: it is back at once"


def test_when_all_were_found_unreachable_they_are_still_tried():
    scene = Scene(1, 1, 1)
    for name in ("h0", "h1", "h2"):
        scene.fail(name, 1, Outcome.UNREACHABLE)
    first = scene.pick()
    second = scene.pick(exclude=(first,))
    third = scene.pick(exclude=(first, second))
    assert {host.endpoint.key for host in (first, second, third)} == {"h0", "h1", "h2"}
    assert scene.pick(exclude=(first, second, third)) is None


def test_in_a_panic_the_ejected_are_used_but_not_what_cannot_be_dialled():
    scene = Scene(*[1] * 10, outlier=HARD)
    for number in range(8):
        scene.fail(f"h{number}", 3)
    scene.fail("h8", 1, Outcome.UNREACHABLE)
    assert picked(scene, 3000) == {f"h{n}" for n in (*range(8), 9)}
    assert scene.balancer.panicking
    scene.now += 12
    assert picked(scene, 3000) == {f"h{n}" for n in range(10)}
    assert not scene.balancer.panicking


def test_the_second_group_takes_what_the_first_can_no_longer_carry():
    near = [endpoint(f"n{n}", region="eu", zone="a") for n in range(10)]
    far = [endpoint(f"f{n}", region="eu", zone="b") for n in range(10)]
    scene = Scene(
        policy="random",
        targets=(target("t", *near, *far),),
        locality=Locality(region="eu", zone="a", prefer_near=True),
        outlier=HARD,
    )

    def far_part() -> float:
        return sum(count for name, count in scene.spread(4000).items() if name[0] == "f") / 4000

    assert far_part() == 0
    for number in range(5):
        scene.fail(f"n{number}", 3)
    assert far_part() == pytest.approx(0.3, abs=0.03)
    for number in range(5, 10):
        scene.fail(f"n{number}", 1, Outcome.UNREACHABLE)
    assert far_part() == 1
    scene.update(target("t", *near))
    scene.now += 60
    assert far_part() == 0


def test_a_target_that_is_empty_fails_over_whole_and_proves_its_own_identity():
    first, second = target("first"), target("second", endpoint("s"))
    scene = Scene(targets=(first, second))
    assert scene.pick().spiffe_id == "spiffe://mesh/second"
    scene.update(target("first", endpoint("f")), second)
    assert scene.pick().spiffe_id == "spiffe://mesh/first"


def test_a_retry_that_tried_all_of_one_group_goes_to_the_next():
    scene = Scene(targets=(target("first", endpoint("f")), target("second", endpoint("s"))))
    first = scene.pick()
    assert first.endpoint.key == "f"
    assert scene.name(exclude=(first,)) == "s"


@pytest.mark.parametrize("policy", POLICIES)
def test_an_endpoint_at_its_limit_is_passed_over_and_full_ones_do_not_flood_the_next_group(policy):
    scene = Scene(
        policy=policy,
        targets=(target("first", endpoint("f0"), endpoint("f1")), target("second", endpoint("s"))),
        limits=Limits(endpoint_requests_max=2),
    )
    held = []
    for _ in range(4):
        host = scene.pick(key=5)
        scene.balancer.started(host)
        held.append(host)
    assert sorted(host.endpoint.key for host in held) == ["f0", "f0", "f1", "f1"]
    assert scene.pick(key=5) is None
    assert scene.balancer.why_none() == ALL_FULL
    scene.end(held[0])
    assert scene.pick(key=5) is held[0]
    scene.update(
        target("first", endpoint("f0"), endpoint("f1")),
        target("second", endpoint("s")),
        limits=Limits(endpoint_requests_max=9),
    )
    assert scene.pick(key=5) is not None


def test_why_nothing_was_found_is_said():
    scene = Scene(1)
    host = scene.pick()
    assert scene.pick(exclude=(host,)) is None
    assert scene.balancer.why_none((host,)) == ALL_TRIED
    scene.update(target("t"))
    assert scene.pick() is None
    assert scene.balancer.why_none() == NO_HOST


def test_endpoints_that_stay_keep_their_state_and_those_that_moved_do_not():
    scene = Scene(1, 1, 1)
    h0, h1, h2 = scene.balancer.hosts
    for host in (h0, h1, h2):
        scene.balancer.started(host)
    scene.fail("h1", 5)
    scene.update(target("t", endpoint("h0"), endpoint("h1", weight=5), endpoint("new")))
    assert (scene.host("h0"), scene.host("h1")) == (h0, h1)
    assert (h0.active, h1.weight, h1.until > 0, len(scene.balancer.ejected)) == (1, 5, True, 1)
    assert "h1" not in picked(scene)
    assert h2.group == -1
    scene.end(h2, Outcome.ERROR)
    scene.update(
        target("t", endpoint("h0"), endpoint("h1", weight=5)),
    )
    moved = target("t", endpoint("h0"), endpoint("h1", weight=5))
    moved_endpoint = endpoint("h1", zone="z")
    scene.update(target("t", moved.endpoints[0], type(moved_endpoint)(key="h1", address="127.0.0.9", port=1)))
    assert scene.host("h1") is not h1
    assert len(scene.balancer.ejected) == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_a_change_of_the_policy_keeps_the_hosts(policy):
    scene = Scene(1, 1)
    before = list(scene.balancer.hosts)
    scene.fail("h0", 5)
    scene.update(target("t", endpoint("h0"), endpoint("h1")), balance=Balance(policy=policy))
    assert list(scene.balancer.hosts) == before
    assert picked(scene) == {"h1"}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_counts_stay_true(policy, seed):
    """Random requests, outcomes, exclusions, updates: the books of groups, pools and ejections agree with the hosts."""
    rng = random.Random(seed)
    every = [
        endpoint(f"h{n}", weight=rng.randrange(1, 5), region=rng.choice(("eu", "us")), zone=rng.choice("ab"))
        for n in range(20)
    ]
    scene = Scene(
        policy=policy,
        targets=(target("t", *every[:12]), target("u", *every[12:])),
        locality=Locality(region="eu", zone="a", prefer_near=True),
        outlier=Outlier(max_failures=2, ejection_s=1.0, interval_s=0.5, ejected_percent_max=100),
        limits=Limits(endpoint_requests_max=3),
        seed=seed,
    )
    work = []
    for _ in range(1500):
        scene.now += rng.random() * 0.05
        what = rng.random()
        if what < 0.5:
            exclude = tuple(rng.sample(sorted(scene.balancer.hosts, key=repr), min(2, len(scene.balancer.hosts))))
            host = scene.pick(rng.choice((None, rng.getrandbits(64))), exclude)
            if host is not None:
                assert host not in exclude
                assert host.active < 3
                scene.balancer.started(host)
                work.append(host)
        elif what < 0.93 and work:
            scene.end(work.pop(rng.randrange(len(work))), rng.choice(list(Outcome)), rng.choice((None, 0.01, 1.0)))
        elif what < 0.95:
            rng.shuffle(every)
            kept = every[: rng.randrange(20)]
            scene.update(target("t", *kept[::2]), target("u", *kept[1::2]))
        check(scene)


def check(scene: Scene) -> None:
    balancer = scene.balancer
    assert len(balancer.ejected) == sum(1 for host in balancer.hosts if host.until)
    for group in balancer._groups:
        hosts = group.pool.hosts
        assert group.whole == sum(host.weight for host in hosts)
        assert group.usable == sum(host.weight for host in hosts if not host.until)
        assert group.pool.total == sum(host.weight for host in hosts if host.available)
        for host in hosts:
            full = host.active >= 3
            assert host.available == (not full and (not host.until or (host.sentenced and balancer.panicking)))
