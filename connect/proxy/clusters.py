"""The clusters of one upstream with what is remembered of them: balancers and breakers. Held by each upstream listener.

State is by the cluster's name and stays over snapshots, so that a change of a route forgets nobody's faults or load.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from chowk.connect.balance.cluster import ClusterBalancer
from chowk.connect.balance.hosts import Host
from chowk.connect.limits.breakers import Breakers
from chowk.connect.snapshot import Cluster, Split, Target, UpstreamSnapshot

OnEjected = Callable[[Host, float], None]


class LiveCluster:
    """One end of the discovery chain at work."""

    def __init__(
        self, cluster: Cluster, targets: Mapping[str, Target], rng: random.Random, on_ejected: OnEjected
    ) -> None:
        self.cluster = cluster
        self.balancer = ClusterBalancer(cluster, targets, rng, on_ejected)
        self.breakers = Breakers(cluster.limits)

    def update(self, cluster: Cluster, targets: Mapping[str, Target], rng: random.Random) -> None:
        """A newer snapshot."""
        self.cluster = cluster
        self.balancer.update(cluster, targets, rng)
        self.breakers.update(cluster.limits)


class Clusters:
    """By name; those that a snapshot does not name any more are forgotten. `on_ejected`: see `ClusterBalancer`."""

    def __init__(
        self, upstream: UpstreamSnapshot, targets: Mapping[str, Target], rng: random.Random, on_ejected: OnEjected
    ) -> None:
        self._on_ejected = on_ejected
        self._live: dict[str, LiveCluster] = {}
        self.update(upstream, targets, rng)

    def update(self, upstream: UpstreamSnapshot, targets: Mapping[str, Target], rng: random.Random) -> None:
        """A newer snapshot."""
        kept: dict[str, LiveCluster] = {}
        for name, cluster in upstream.clusters.items():
            live = self._live.get(name)
            if live is None:
                live = LiveCluster(cluster, targets, rng, self._on_ejected)
            else:
                live.update(cluster, targets, rng)
            kept[name] = live
        self._live = kept

    def get(self, name: str) -> LiveCluster | None:
        """The cluster of that name."""
        return self._live.get(name)

    def all(self) -> Sequence[LiveCluster]:
        """In the order of the snapshot."""
        return tuple(self._live.values())

    def drawn(self, splits: Sequence[Split], rng: random.Random) -> LiveCluster | None:
        """One of `splits` by weight. None when the snapshot has no cluster for them."""
        known = [(split.weight, self._live[split.cluster]) for split in splits if split.cluster in self._live]
        if not known:
            return None
        left = rng.random() * sum(weight for weight, _cluster in known)
        for weight, cluster in known:
            left -= weight
            if left < 0:
                return cluster
        return known[-1][1]
