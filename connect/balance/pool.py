"""The hosts of one group that may be picked now, drawn by weight in O(log n). Used by every policy.

A Fenwick tree of weights (Fenwick 1994): a host is put in, taken out and drawn in O(log n), whatever the others weigh.
"""

from __future__ import annotations

from collections.abc import Sequence

from chowk.connect.balance.hosts import Host


class Pool:
    """All hosts of a group; those whose `available` is True can be drawn. Makes the hosts' `slot` and `share`."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = tuple(hosts)
        mean = sum(host.weight for host in hosts) / max(len(hosts), 1)
        tree = [0] * (len(hosts) + 1)
        self.total = 0
        for slot, host in enumerate(self.hosts):
            host.slot, host.share = slot, host.weight / mean
            if host.available:
                tree[slot + 1] += host.weight
                self.total += host.weight
        for slot in range(1, len(tree)):
            above = slot + (slot & -slot)
            if above < len(tree):
                tree[above] += tree[slot]
        self._tree = tree
        self._step = 1 << (len(hosts).bit_length() - 1) if hosts else 0

    def put(self, host: Host) -> None:
        """`host` may be picked from now on."""
        if not host.available:
            host.available = True
            self._add(host.slot + 1, host.weight)

    def take(self, host: Host) -> None:
        """`host` may not be picked until it is put back."""
        if host.available:
            host.available = False
            self._add(host.slot + 1, -host.weight)

    def draw(self, unit: float) -> Host | None:
        """The host at `unit` (0 <= unit < 1) of all weight; None when there is none."""
        if not self.total:
            return None
        left, slot, step, tree = int(unit * self.total), 0, self._step, self._tree
        size = len(tree)
        while step:
            next_slot = slot + step
            if next_slot < size and tree[next_slot] <= left:
                slot = next_slot
                left -= tree[next_slot]
            step >>= 1
        return self.hosts[slot]

    def _add(self, slot: int, weight: int) -> None:
        self.total += weight
        tree = self._tree
        while slot < len(tree):
            tree[slot] += weight
            slot += slot & -slot
