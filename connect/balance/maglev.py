"""Maglev hashing (Eisenbud 2016, section 3.4): a table of a prime number of slots that the hosts fill in turns.

Picks are one look-up, shares are exact to a slot; when a host goes, its slots and few others move.
"""

from __future__ import annotations

import random
from typing import Final

from chowk.connect.balance.hashing import mixed, points, unit
from chowk.connect.balance.hosts import Host
from chowk.connect.balance.pool import Pool

TABLE_SIZE: Final = 65_537
"""Prime. For up to HOSTS_FEW hosts TABLE_SIZE_FEW does: filling takes about 0.1 µs times size times log(size)."""
TABLE_SIZE_FEW: Final = 16_381
HOSTS_FEW: Final = 512
WALK_MAX: Final = 64


class Maglev:
    """Made anew for each set of hosts; the same set gives the same table everywhere."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._table: list[Host] = []

    def pick(self, now: float, rng: random.Random, key: int | None) -> Host | None:  # noqa: ARG002
        """See `Policy`. Without a key: any. Who is left out hands its keys to others, each key by a way of its own."""
        pool = self._pool
        if key is None or not pool.total:
            return pool.draw(rng.random())
        if not self._table:
            self._table = fill(pool.hosts)
        table = self._table
        size = len(table)
        slot = key % size
        host = table[slot]
        if host.available:
            return host
        other = mixed(key)
        skip = 1 + other % (size - 1)
        for _ in range(WALK_MAX):
            slot = (slot + skip) % size
            host = table[slot]
            if host.available:
                return host
        return pool.draw(unit(other))

    def returned(self, host: Host) -> None:
        """See `Policy`."""


def fill(hosts: tuple[Host, ...]) -> list[Host]:
    """The table. Each host walks the slots in an order of its own; the heavier take turns more often (as Envoy does it)."""
    size = TABLE_SIZE_FEW if len(hosts) <= HOSTS_FEW else TABLE_SIZE
    if len(hosts) == 1:
        return [hosts[0]] * size
    heaviest = max(host.weight for host in hosts)
    slots, skips = [], []
    for host in hosts:
        if len(host.points) != 2:
            host.points = points(f"{host.target.id}\0{host.endpoint.key}", 2)
        offset, skip = host.points
        slots.append(offset % size)
        skips.append(1 + skip % (size - 1))
    owners = [-1] * size
    credits = [0.0] * len(hosts)
    shares = [host.weight / heaviest for host in hosts]
    left = size
    while True:
        for number, slot in enumerate(slots):
            credits[number] += shares[number]
            if credits[number] < 1.0:
                continue
            credits[number] -= 1.0
            skip = skips[number]
            while owners[slot] >= 0:
                slot += skip
                if slot >= size:
                    slot -= size
            owners[slot] = number
            slots[number] = slot
            left -= 1
            if not left:
                return [hosts[owner] for owner in owners]
