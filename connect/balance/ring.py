"""Ring hash (consistent hashing, Karger 1997): a key goes to the next point of the ring. With Consul's ring sizes.

When a host goes, only its keys move, to the next hosts of the ring. Who is left out for a moment is walked past likewise.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from typing import Final

from chowk.connect.balance.hashing import mixed, points, unit
from chowk.connect.balance.hosts import Host
from chowk.connect.balance.pool import Pool

RING_SIZE_MIN: Final = 1024
"""Points of the whole ring, where nothing else is configured; as in Envoy."""
RING_SIZE_MAX: Final = 262_144
"""A configuration may ask for more (Consul allows 8,388,608): a ring costs about 100 bytes a point, in every proxy."""
POINTS_EACH: Final = 64
SIZE_WANTED: Final = 65_536
"""Nothing configured: each host has POINTS_EACH points while the ring stays below this."""
WALK_MAX: Final = 64


class Ring:
    """Made anew for each set of hosts; their points stay with them."""

    def __init__(self, pool: Pool, size_min: int = 0, size_max: int = 0) -> None:
        self._pool = pool
        self._owners: dict[int, Host] = {}
        self._ring: list[int] = []
        self._sizes = (size_min, size_max)
        self._ready = False

    def __len__(self) -> int:
        self._prepare()
        return len(self._ring)

    def pick(self, now: float, rng: random.Random, key: int | None) -> Host | None:  # noqa: ARG002
        """See `Policy`. Without a key: any."""
        pool = self._pool
        if key is None or not pool.total:
            return pool.draw(rng.random())
        self._prepare()
        ring, owners = self._ring, self._owners
        at = bisect_left(ring, key)
        for step in range(at, at + min(WALK_MAX, len(ring))):
            host = owners[ring[step % len(ring)]]
            if host.available:
                return host
        return pool.draw(unit(mixed(key)))

    def returned(self, host: Host) -> None:
        """See `Policy`."""

    def _prepare(self) -> None:
        """At the first key rather than at each change: endpoints often change several at once."""
        if self._ready:
            return
        self._ready = True
        counts = ring_counts([host.weight for host in self._pool.hosts], *self._sizes)
        for host, count in zip(self._pool.hosts, counts, strict=True):
            if len(host.points) != count:
                host.points = points(f"{host.target.id}\0{host.endpoint.key}", count)
            self._owners.update(dict.fromkeys(host.points, host))
        self._ring = sorted(self._owners)


def ring_counts(weights: list[int], size_min: int = 0, size_max: int = 0) -> list[int]:
    """How many points each host gets: at least one, in proportion to its weight.

    The ring has `size_min` points or more and at most `size_max` (but one for each host). 0: the defaults above. The
    lightest host has a power of two of them: so one host more or less does not change the number of all others' points.
    """
    if not weights:
        return []
    total, lightest = sum(weights), min(weights)
    wanted = size_min or max(RING_SIZE_MIN, min(POINTS_EACH * len(weights), SIZE_WANTED))
    most = min(size_max or RING_SIZE_MAX, RING_SIZE_MAX)
    each = 1 << (math.ceil(lightest * wanted / total) - 1).bit_length()
    scale = min(each * total / lightest, most)
    return [max(1, int(weight * scale / total + 1e-9)) for weight in weights]
