"""A token bucket. Pure; the leader limits signing with it, so that a storm of proxies cannot take the server's CPU."""

from __future__ import annotations


class TokenBucket:
    """`rate` tokens a second, at most a second's worth kept. Rate 0 means no limit."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._tokens = max(rate, 1.0)
        self._at = now

    def set_rate(self, rate: float) -> None:
        """Change the rate from now on."""
        self._rate = rate

    def take(self, now: float) -> bool:
        """Take a token; False when there is none. `now` is monotonic seconds."""
        if not self._rate:
            return True
        self._tokens = min(max(self._rate, 1.0), self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
