"""connect.limits.rates."""

import pytest

from chowk.connect.limits.rates import CALLERS_MAX, Bucket, RateLimiter, retry_after
from chowk.core.records.traffic import CallerRate, InstanceRate, RateLimits, RouteRate


def limiter(rate: int = 0, burst: int = 0, routes: tuple[int, ...] = (), **callers: int) -> RateLimiter:
    named = tuple(CallerRate(name=name.replace("any", "*"), requests_per_second=each) for name, each in callers.items())
    whole = InstanceRate(
        requests_per_second=rate,
        requests_max_burst=burst,
        routes=tuple(RouteRate(path_prefix="/", requests_per_second=each) for each in routes),
    )
    return RateLimiter(RateLimits(instance_level=whole, callers=named), 0.0)


def allowed(
    one: RateLimiter, seconds: float, per_second: int, caller: str = "web", route: int | None = None, at: float = 0.0
):
    return sum(one.ask(at + n / per_second, caller, route) is None for n in range(int(seconds * per_second)))


def test_no_limits_let_everything_pass():
    assert allowed(limiter(), 1, 5000) == 5000


def test_a_rate_is_kept_after_its_burst():
    assert allowed(limiter(100), 10, 1000) == pytest.approx(100 + 1000, abs=2)
    assert allowed(limiter(100, 5), 10, 1000) == pytest.approx(5 + 1000, abs=2)
    assert allowed(limiter(10), 100, 5) == 500, "who keeps to it is never refused"


def test_callers_have_rates_of_their_own():
    one = limiter(shop=10, any=2)
    assert [one.ask(0.0, "shop") for _ in range(10)] == [None] * 10
    assert one.ask(0.0, "shop").what == "caller"
    for name in ("a", "b"):
        assert [one.ask(0.0, name) is None for _ in range(3)] == [True, True, False]
    assert one.exceeded_total == {"instance": 0, "route": 0, "caller": 3}


def test_without_a_rate_for_all_others_only_the_named_are_limited():
    one = limiter(shop=1)
    assert [one.ask(0.0, "shop") is None for _ in range(2)] == [True, False]
    assert allowed(one, 1, 1000, "web") == 1000
    assert len(one._callers) == 1


def test_a_route_has_its_own_rate_besides_the_instances():
    one = limiter(100, routes=(3, 0))
    assert allowed(one, 1, 50, route=0, at=0.0) == pytest.approx(5, abs=1)
    assert allowed(one, 1, 50, route=1, at=5.0) == 50


def test_who_is_refused_by_one_limit_uses_up_no_other():
    one = limiter(10, web=1)
    for _ in range(100):
        one.ask(0.0, "web")
    assert sum(one.ask(0.0, f"other{n}") is None for n in range(20)) == 9


def test_the_time_to_wait_is_said_in_whole_seconds():
    one = limiter(1)
    assert one.ask(0.0, "web") is None
    exceeded = one.ask(0.25, "web")
    assert exceeded.retry_after_s == pytest.approx(0.75)
    assert retry_after(exceeded) == 1
    assert one.ask(1.01, "web") is None


def test_more_callers_than_there_are_buckets_share_one_and_are_counted():
    one = limiter(any=2)
    for number in range(CALLERS_MAX * 3):
        one.ask(0.0, f"caller{number}")
    assert len(one._callers) <= CALLERS_MAX + 1
    assert one.overflow_total == CALLERS_MAX * 2
    assert sum(one.ask(0.0, f"new{n}") is None for n in range(100)) == 0, "their common bucket is empty"
    assert one.ask(0.0, "caller0") is None, "who has one keeps it"


def test_a_caller_that_was_quiet_makes_room_for_a_new_one():
    one = limiter(any=2)
    for number in range(CALLERS_MAX):
        one.ask(0.0, f"caller{number}")
    assert [one.ask(10.0, "new") is None for _ in range(3)] == [True, True, False]
    assert one.overflow_total == 0
    assert len(one._callers) == CALLERS_MAX


def test_a_clock_that_steps_back_gives_and_takes_nothing():
    bucket = Bucket(10.0, 1.0, 100.0)
    assert bucket.wait_s(100.0) == 0.0
    bucket.take()
    assert bucket.wait_s(50.0) == pytest.approx(0.1)
    assert bucket.wait_s(100.1) == pytest.approx(0.0, abs=1e-9)
