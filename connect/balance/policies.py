"""Which host of one group: chance, fewest requests, peak-EWMA, turns. The hashing policies are in `ring` and `maglev`.

Peak-EWMA and least request compare hosts drawn by weight (power of two choices, Mitzenmacher 2001): nearly the best
balance without everyone running to the same host. Turns are earliest deadline first, which is smooth and O(log n).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Final, Protocol

from chowk.connect.balance.hosts import Host
from chowk.connect.balance.maglev import Maglev
from chowk.connect.balance.pool import Pool
from chowk.connect.balance.ring import Ring
from chowk.connect.snapshot import Balance

CHOICES: Final = 2
CHOICES_MAX: Final = 32


class Policy(Protocol):
    """Picks among the available hosts of one `Pool`. State of a host is in the host, so a new policy goes on with it."""

    def pick(self, now: float, rng: random.Random, key: int | None) -> Host | None:
        """An available host; None when there is none. `key` is a hash of 64 bits, None when nothing is to be hashed."""

    def returned(self, host: Host) -> None:
        """`host` has become available again."""


class Sampled:
    """The best of `choices` different hosts drawn by weight; of equals the first. `better` None: the first drawn."""

    def __init__(self, pool: Pool, choices: int, better: Callable[[Host, Host, float], bool] | None) -> None:
        self._pool = pool
        self._choices = choices
        self._better = better

    def pick(self, now: float, rng: random.Random, key: int | None) -> Host | None:  # noqa: ARG002
        """See `Policy`."""
        pool, better = self._pool, self._better
        best = pool.draw(rng.random())
        if best is None or better is None:
            return best
        drawn = [best]
        for _ in range(self._choices - 1):
            pool.take(drawn[-1])
            other = pool.draw(rng.random())
            if other is None:
                break
            drawn.append(other)
            if better(other, best, now):
                best = other
        for host in drawn:
            pool.put(host)
        return best

    def returned(self, host: Host) -> None:
        """See `Policy`."""


class RoundRobin:
    """Each host in turn, by weight, evenly mixed. Where the turns begin is drawn, so that many proxies do not move alike."""

    def __init__(self, pool: Pool, rng: random.Random) -> None:
        self._now = min((host.turn for host in pool.hosts if host.available and host.turn >= 0.0), default=0.0)
        self._heap: list[tuple[float, int, Host]] = []
        for host in pool.hosts:
            host.turn = max(host.turn, self._now) if host.turn >= 0.0 else self._now + rng.random() / host.weight
            host.queued = host.available
            if host.queued:
                self._heap.append((host.turn, host.slot, host))
        heapq.heapify(self._heap)

    def pick(self, now: float, rng: random.Random, key: int | None) -> Host | None:  # noqa: ARG002
        """See `Policy`."""
        heap = self._heap
        while heap:
            turn, slot, host = heap[0]
            if host.available:
                self._now = turn
                host.turn = turn + 1.0 / host.weight
                heapq.heapreplace(heap, (host.turn, slot, host))
                return host
            heapq.heappop(heap)
            host.queued = False
        return None

    def returned(self, host: Host) -> None:
        """See `Policy`. Who was away has no turns to catch up on."""
        if not host.queued:
            host.turn = max(host.turn, self._now)
            host.queued = True
            heapq.heappush(self._heap, (host.turn, host.slot, host))


def make_policy(balance: Balance, pool: Pool, rng: random.Random) -> Policy:
    """The policy that `balance` names; what it does not know is peak-EWMA (snapshots of a newer agent)."""
    choices = min(max(balance.choices or CHOICES, 1), CHOICES_MAX)
    match balance.policy:
        case "round_robin":
            return RoundRobin(pool, rng)
        case "random":
            return Sampled(pool, 1, None)
        case "least_request":
            return Sampled(pool, choices, Host.lighter)
        case "ring_hash":
            return Ring(pool, balance.ring_size_min, balance.ring_size_max)
        case "maglev":
            return Maglev(pool)
        case _:
            return Sampled(pool, CHOICES, Host.cheaper)
