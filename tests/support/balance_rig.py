"""Clusters for tests of the balancer: made of a few numbers, and a count of where picks go."""

from __future__ import annotations

import random
from collections import Counter

import msgspec

from chowk.connect.balance.cluster import ClusterBalancer
from chowk.connect.balance.hosts import Host, Outcome
from chowk.connect.snapshot import Balance, Cluster, Endpoint, Target


def endpoint(name: str, **more: object) -> Endpoint:
    return Endpoint(key=name, address="127.0.0.1", port=1, **more)


def target(name: str, *endpoints: Endpoint) -> Target:
    return Target(id=name, service=name, datacenter="dc1", spiffe_id=f"spiffe://mesh/{name}", endpoints=endpoints)


class Scene:
    """A balancer, the time, the chance. `weights` make hosts h0, h1, …; or give `targets`."""

    def __init__(
        self, *weights: int, policy: str = "peak_ewma", targets: tuple[Target, ...] = (), seed: int = 7, **more: object
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 100.0
        made = targets or (target("t", *(endpoint(f"h{n}", weight=weight) for n, weight in enumerate(weights))),)
        self.cluster = Cluster(name="c", targets=tuple(each.id for each in made), balance=Balance(policy=policy))
        self.cluster = msgspec.structs.replace(self.cluster, **more)
        self.balancer = ClusterBalancer(self.cluster, {each.id: each for each in made}, self.rng)

    def update(self, *targets: Target, **more: object) -> None:
        self.cluster = msgspec.structs.replace(self.cluster, targets=tuple(each.id for each in targets), **more)
        self.balancer.update(self.cluster, {each.id: each for each in targets}, self.rng)

    def host(self, name: str) -> Host:
        return next(host for host in self.balancer.hosts if host.endpoint.key == name)

    def pick(self, key: int | None = None, exclude: tuple[Host, ...] = ()) -> Host | None:
        return self.balancer.pick(self.now, self.rng, key, exclude)

    def name(self, key: int | None = None, exclude: tuple[Host, ...] = ()) -> str | None:
        host = self.pick(key, exclude)
        return host and host.endpoint.key

    def end(self, host: Host, outcome: Outcome = Outcome.OK, latency_s: float | None = None) -> None:
        self.balancer.finished(host, self.now, self.rng, outcome, latency_s)

    def fail(self, name: str, times: int, outcome: Outcome = Outcome.GATEWAY) -> None:
        host = self.host(name)
        for _ in range(times):
            self.balancer.started(host)
            self.end(host, outcome)

    def spread(self, picks: int, *, hold: bool = False) -> Counter[str]:
        """Where `picks` go, each ended before the next, or (`hold`) all kept in work."""
        found: Counter[str] = Counter()
        for _ in range(picks):
            host = self.pick()
            self.balancer.started(host)
            found[host.endpoint.key] += 1
            if not hold:
                self.end(host)
        return found
