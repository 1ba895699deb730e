"""Rate limits of one instance: all callers together, each route, each caller. Pure token buckets, asked by inbound proxies.

The callers that have a bucket of their own are bounded; who comes beyond that shares one with all others that do, so that a
mesh of many identities can neither fill the memory nor get around the limit.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from chowk.core.records.traffic import RateLimits

CALLERS_MAX: Final = 1024
ANY_CALLER: Final = "*"
OVERFLOW: Final = ""
"""The name of the bucket of those that found no place; no service is called so."""


class Exceeded(msgspec.Struct, frozen=True):
    """Too much. `what`: instance, route or caller. `retry_after_s`: when there will be room, if nobody else comes."""

    what: str
    retry_after_s: float


class Bucket:
    """`rate` tokens a second, at most `burst` kept (0: a second's worth, at least one)."""

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = max(burst or rate, 1.0)
        self._tokens = self.burst
        self._at = now

    def wait_s(self, now: float) -> float:
        """Seconds until there is a token; 0.0 when there is one."""
        if now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
            self._at = now
        return 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) / self.rate

    def take(self) -> None:
        """Take the token that `wait_s` found."""
        self._tokens -= 1.0

    def is_full(self, now: float) -> bool:
        """Whether it is as good as a new one."""
        return self._tokens + max(0.0, now - self._at) * self.rate >= self.burst


class RateLimiter:
    """`exceeded_total` is by what was exceeded; `overflow_total` counts requests that shared the callers' common bucket."""

    def __init__(self, limits: RateLimits, now: float) -> None:
        self.limits = limits
        self.exceeded_total = {"instance": 0, "route": 0, "caller": 0}
        self.overflow_total = 0
        whole = limits.instance_level
        self._whole = _bucket(whole.requests_per_second, whole.requests_max_burst, now)
        self._routes = [_bucket(each.requests_per_second, each.requests_max_burst, now) for each in whole.routes]
        self._rates = {each.name: (each.requests_per_second, each.requests_max_burst) for each in limits.callers}
        self._callers: dict[str, Bucket] = {}

    def ask(self, now: float, caller: str, route: int | None = None) -> Exceeded | None:
        """None: go on; it is counted. `caller`: the proven service. `route`: which of `instance_level.routes` it matches.

        A token is taken of every bucket or of none: who is refused by one limit does not use up another.
        """
        asked = []
        if self._rates and (bucket := self._caller(now, caller)) is not None:
            asked.append(("caller", bucket))
        if route is not None and (bucket := self._routes[route]) is not None:
            asked.append(("route", bucket))
        if self._whole is not None:
            asked.append(("instance", self._whole))
        for what, bucket in asked:
            wait_s = bucket.wait_s(now)
            if wait_s:
                self.exceeded_total[what] += 1
                return Exceeded(what, wait_s)
        for _what, bucket in asked:
            bucket.take()
        return None

    def _caller(self, now: float, caller: str) -> Bucket | None:
        known = self._callers.pop(caller, None)
        if known is None:
            rate, burst = self._rates.get(caller) or self._rates.get(ANY_CALLER) or (0, 0)
            if not rate:
                return None
            if caller not in self._rates and len(self._callers) >= CALLERS_MAX and not self._make_room(now):
                self.overflow_total += 1
                return self._callers.setdefault(OVERFLOW, Bucket(rate, burst, now))
            known = Bucket(rate, burst, now)
        self._callers[caller] = known  # the last asked is the last of the dict
        return known

    def _make_room(self, now: float) -> bool:
        """Forget the caller not heard of for the longest, if that loses nothing: its bucket is full again."""
        oldest = next(iter(self._callers))
        if not self._callers[oldest].is_full(now):
            return False
        del self._callers[oldest]
        return True


def retry_after(exceeded: Exceeded) -> int:
    """Whole seconds for the header Retry-After (RFC 9110 section 10.2.3)."""
    return max(1, math.ceil(exceeded.retry_after_s))


def _bucket(rate: int, burst: int, now: float) -> Bucket | None:
    return Bucket(float(rate), float(burst), now) if rate > 0 else None
