"""Response rate limiting over UDP: what keeps a forged source address from being flooded with our replies.

As BIND and Knot do it: a token bucket for each network of clients (/24, /56) and each kind of reply, so that a flood of
names that do not exist takes nothing from real answers. Of the replies over the limit every `slip`-th is sent as an empty
one with TC: an honest client asks again over TCP, which cannot be forged, and nobody is sent more than he seems to have
sent. A pure core, called by the UDP listener.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from chowk.dns.records import NOERROR, NXDOMAIN
from chowk.dns.settings import RateSettings

BUCKETS_MAX = 16_384
"""Networks and kinds told apart; for a further one the bucket made longest ago goes."""

IPV4_PREFIX, IPV6_PREFIX = 24, 56
_ADDRESSES_MAX = 4096
_LOOPBACK = frozenset(RateSettings().exempt)


class Verdict(enum.Enum):
    """What becomes of a reply."""

    SEND = "send"
    TRUNCATE = "truncate"
    DROP = "drop"


class _Bucket:
    __slots__ = ("filled_at", "refused", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.filled_at = now
        self.refused = 0


class RateLimiter:
    """`judge` each reply before it is sent."""

    def __init__(self, settings: RateSettings) -> None:
        self._per_second = settings.per_second
        self._slip = settings.slip
        exempt = [ip_network(text, strict=False) for text in settings.exempt]
        self.limits_loopback = bool(self._per_second) and not set(settings.exempt) >= _LOOPBACK
        self._buckets: dict[tuple[int, str], _Bucket] = {}

        @lru_cache(maxsize=_ADDRESSES_MAX)
        def network_of(host: str) -> int | None:
            address = _address(host)
            if any(address.version == each.version and address in each for each in exempt):
                return None
            # Versions stay apart: a network of IPv4 is below 2**24, and no IPv6 client is in ::/88.
            return int(address) >> (32 - IPV4_PREFIX if address.version == 4 else 128 - IPV6_PREFIX)

        self._network_of = network_of

    def judge(self, host: str, reply: bytes, now: float) -> Verdict:
        """May this reply go to this client now?"""
        if not self._per_second:
            return Verdict.SEND
        network = self._network_of(host)
        if network is None:
            return Verdict.SEND
        key = (network, kind_of(reply))
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_MAX:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[key] = _Bucket(self._per_second, now)
        tokens = min(self._per_second, bucket.tokens + (now - bucket.filled_at) * self._per_second)
        bucket.filled_at = now
        if tokens >= 1:
            bucket.tokens = tokens - 1
            return Verdict.SEND
        bucket.tokens = tokens
        bucket.refused += 1
        return Verdict.TRUNCATE if self._slip and bucket.refused % self._slip == 0 else Verdict.DROP


def kind_of(reply: bytes) -> str:
    """`answer`, `negative` (no such name, or none of that type), or `error`."""
    rcode = reply[3] & 0xF
    if rcode == NOERROR and reply[6:8] != b"\0\0":
        return "answer"
    return "negative" if rcode in (NOERROR, NXDOMAIN) else "error"


def _address(host: str) -> IPv4Address | IPv6Address:
    address = ip_address(host.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
