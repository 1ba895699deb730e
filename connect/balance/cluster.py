"""The balancer of one cluster: groups in their order, a policy in each, ejections. Pure; the proxy's listeners own one each.

For every request: `pick`, then `started`, then exactly one `finished`. All times are monotonic seconds.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

from chowk.connect.balance.groups import ordered, shares
from chowk.connect.balance.hashing import mixed, unit
from chowk.connect.balance.hosts import Host, Outcome
from chowk.connect.balance.outlier import OutlierDetector
from chowk.connect.balance.policies import Policy, make_policy
from chowk.connect.balance.pool import Pool
from chowk.connect.snapshot import Cluster, Endpoint, Target

NO_HOST: Final = "no healthy instance"
ALL_TRIED: Final = "no other instance left to try"
ALL_FULL: Final = "every instance is at its limit of requests"
NOT_DIALLED: Final = "it cannot be dialled"
FAILURES_IN_A_ROW: Final = "too many of its answers in a row were failures"
FAILURE_RATE: Final = "it fails far more often than the others"


class Balancer(Protocol):
    """What a listener needs of a balancer."""

    def pick(
        self, now: float, rng: random.Random, key: int | None = None, exclude: Collection[Host] = ()
    ) -> Host | None:
        """Where the next request goes, None when nowhere."""

    def started(self, host: Host) -> None:
        """A request is on its way to `host`."""

    def finished(
        self, host: Host, now: float, rng: random.Random, outcome: Outcome, latency_s: float | None = None
    ) -> None:
        """It ended so."""


class _Group:
    """Hosts that are used alike, and the policy that chooses among them. Weights: all, and what is not ejected."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.members = tuple((host, host.weight) for host in hosts)
        self.pool = Pool(hosts)
        self.policy: Policy
        self.whole = sum(weight for _host, weight in self.members)
        self.usable = self.whole - sum(host.weight for host in hosts if host.until)


class ClusterBalancer:
    """Implements `Balancer`. Counters are for reading: `picks_total`, `ejections_total`, `panicking`, `ejected`."""

    def __init__(
        self,
        cluster: Cluster,
        targets: Mapping[str, Target],
        rng: random.Random,
        on_ejected: Callable[[Host, float], None] | None = None,
    ) -> None:
        """`on_ejected` is told of each host that is left out from now on, and for how many seconds."""
        self.cluster = cluster
        self._on_ejected = on_ejected
        self.picks_total = 0
        self.ejections_total = 0
        self.panicking = False
        self._hosts: dict[tuple[str, str], Host] = {}
        self._groups: list[_Group] = []
        self._shares: list[float] = []
        self._stale = True
        self._detector = OutlierDetector(cluster.outlier)
        self._sentenced = 0
        self._ejected: dict[Host, None] = {}
        self._returns: list[tuple[float, int, Host]] = []
        self._returns_made = 0
        self._heard: dict[Host, None] = {}
        self._sweep_at = 0.0
        self._limit = 0
        self.update(cluster, targets, rng)

    # --- what the snapshot says

    def update(self, cluster: Cluster, targets: Mapping[str, Target], rng: random.Random) -> None:
        """Endpoints or policies changed. Hosts that keep key and address keep their state, untouched groups theirs."""
        hosts: dict[tuple[str, str], Host] = {}
        groups = []
        for number, members in enumerate(ordered(cluster.targets, targets, cluster.locality)):
            mine = [self._host(target, endpoint, number) for target, endpoint in members]
            hosts.update({(host.target.id, host.endpoint.key): host for host in mine})
            groups.append(mine)
        gone = [host for key, host in self._hosts.items() if hosts.get(key) is not host]
        same_policy = cluster.balance == self.cluster.balance
        self.cluster, self._hosts = cluster, hosts
        self._detector.rules = cluster.outlier
        self._limit = cluster.limits.endpoint_requests_max
        for host in gone:
            self._forget(host)
            host.available, host.group = False, -1
        before, self._groups = self._groups, []
        for number, mine in enumerate(groups):
            old = before[number] if number < len(before) else None
            if old is not None and same_policy and old.members == tuple((host, host.weight) for host in mine):
                self._groups.append(old)
            else:
                group = _Group(mine)
                group.policy = make_policy(cluster.balance, group.pool, rng)
                self._groups.append(group)
        for host in hosts.values():
            self._settle(host)
        self._stale = True

    @property
    def hosts(self) -> Collection[Host]:
        """All endpoints that may be used, in the order of their groups."""
        return self._hosts.values()

    @property
    def ejected(self) -> Collection[Host]:
        """The hosts that are left out now, or were until the last `pick`."""
        return self._ejected.keys()

    # --- requests

    def pick(
        self, now: float, rng: random.Random, key: int | None = None, exclude: Collection[Host] = ()
    ) -> Host | None:
        """The host of the next request, none of `exclude` (those tried already).

        `key` (64 bits, of `hashing.hash_key`) binds equal keys to one host with ring_hash and maglev. None when there is no
        endpoint, all are excluded, or all are at `endpoint_requests_max`: `why_none` says which. Ejected hosts are taken
        only in a panic, or when nothing else is left: a guess about health never denies service.
        """
        self.picks_total += 1
        if self._returns and self._returns[0][0] <= now:
            self._release(now)
        if self._stale:
            self._reckon()
        groups = self._groups
        if not groups:
            return None
        taken = [host for host in exclude if host.available] if exclude else ()
        for host in taken:
            self._groups[host.group].pool.take(host)
        try:
            first = self._drawn(rng, key) if len(groups) > 1 else 0
            found = groups[first].policy.pick(now, rng, key)
            if found is None and not self._full(groups[first], taken):
                found = self._elsewhere(first, now, rng, key) or self._least_ejected(exclude)
            return found
        finally:
            for host in taken:
                self._put(host)

    def why_none(self, exclude: Collection[Host] = ()) -> str:
        """Words for a `pick` that found nothing, given the same `exclude`."""
        if not self._hosts:
            return NO_HOST
        limit = self._limit
        if limit and any(host.active >= limit for host in self._hosts.values() if host not in exclude):
            return ALL_FULL
        return ALL_TRIED

    def started(self, host: Host) -> None:
        """A request is on its way to `host`."""
        host.active += 1
        if self._limit and host.active >= self._limit:
            self._settle(host)

    def reached(self, host: Host) -> None:
        """`host` was dialled and has proven itself: if it was passed over for not being dialled, that is over."""
        host.dials_failed = 0
        if host.until and not host.sentenced:
            self._return(host)

    def finished(
        self, host: Host, now: float, rng: random.Random, outcome: Outcome, latency_s: float | None = None
    ) -> None:
        """A request that had `started` ended so. `latency_s` None: not known (a TCP connection has none).

        A host that has left the cluster meanwhile may be handed in too.
        """
        host.active -= 1
        host.learn(now, outcome, latency_s)
        if host.group < 0:
            return
        if self._limit and host.active == self._limit - 1:
            self._settle(host)
        out_s = self._detector.judge(host, outcome, now, rng)
        if out_s:
            why = NOT_DIALLED if outcome is Outcome.UNREACHABLE else FAILURES_IN_A_ROW
            self._eject(host, now, out_s, why)
        self._heard[host] = None
        if now >= self._sweep_at:
            self._sweep(now, rng)

    # --- ejections

    def _sweep(self, now: float, rng: random.Random) -> None:
        first = not self._sweep_at
        self._sweep_at = now + max(self.cluster.outlier.interval_s, 0.1)
        if first:
            return
        for host in self._detector.sweep(self._heard):
            if not host.until:
                self._eject(host, now, self._detector.sentence(host, now, rng), FAILURE_RATE)
        self._heard.clear()

    def _eject(self, host: Host, now: float, out_s: float, why: str) -> None:
        until, sentenced = now + out_s, why != NOT_DIALLED
        if sentenced and not self._detector.may_eject(self._sentenced, len(self._hosts)):
            return
        host.until, host.sentenced, host.why = until, sentenced, why
        self._sentenced += sentenced
        self._ejected[host] = None
        self.ejections_total += 1
        self._groups[host.group].usable -= host.weight
        self._returns_made += 1
        heapq.heappush(self._returns, (until, self._returns_made, host))
        self._settle(host)
        self._stale = True
        if self._on_ejected is not None:
            self._on_ejected(host, out_s)

    def _release(self, now: float) -> None:
        while self._returns and self._returns[0][0] <= now:
            until, _order, host = heapq.heappop(self._returns)
            if host in self._ejected and host.until == until:
                self._return(host)

    def _return(self, host: Host) -> None:
        host.returned_at = host.until
        host.failures = 0
        self._forget(host)
        self._groups[host.group].usable += host.weight
        self._settle(host)
        self._stale = True

    def _forget(self, host: Host) -> None:
        """`host` is not ejected any more."""
        if host in self._ejected:
            del self._ejected[host]
            self._sentenced -= host.sentenced
        host.until, host.sentenced = 0.0, False
        self._heard.pop(host, None)

    # --- which are available

    def _host(self, target: Target, endpoint: Endpoint, group: int) -> Host:
        """The one there was, if it is the same place; changed weights and zones are taken over."""
        host = self._hosts.get((target.id, endpoint.key))
        if host is None or (host.endpoint.address, host.endpoint.port) != (endpoint.address, endpoint.port):
            host = Host(target, endpoint)
        elif host.group != group:
            host.turn = -1.0
        host.target, host.endpoint, host.group = target, endpoint, group
        host.weight = max(endpoint.weight, 1)
        return host

    def _put(self, host: Host) -> None:
        group = self._groups[host.group]
        group.pool.put(host)
        group.policy.returned(host)

    def _settle(self, host: Host) -> None:
        """Available or not, by what is known now. No panic makes hosts available that could not even be dialled."""
        well = not host.until or (host.sentenced and self.panicking)
        wanted = well and host.group >= 0 and not (self._limit and host.active >= self._limit)
        if wanted and not host.available:
            self._put(host)
        elif not wanted and host.available:
            self._groups[host.group].pool.take(host)

    def _reckon(self) -> None:
        """The groups' shares, and whether to panic, after a change."""
        self._stale = False
        self._shares, panics = shares([(group.usable, group.whole) for group in self._groups])
        if panics != self.panicking:
            self.panicking = panics
            for host in self._ejected:
                self._settle(host)

    def _drawn(self, rng: random.Random, key: int | None) -> int:
        """A group by the shares; equal keys draw alike."""
        point = rng.random() if key is None else unit(mixed(key ^ 1))
        for number, share in enumerate(self._shares):
            if point < share:
                return number
            point -= share
        return 0

    def _full(self, group: _Group, taken: Sequence[Host]) -> bool:
        """Whether hosts of the group are left that have too much work. Then no other group is asked: a wave that is too high
        for one place must not roll on through all of them."""
        limit = self._limit
        return bool(limit) and any(
            host.active >= limit and not host.until for host in group.pool.hosts if host not in taken
        )

    def _elsewhere(self, first: int, now: float, rng: random.Random, key: int | None) -> Host | None:
        for number, group in enumerate(self._groups):
            if number != first:
                found = group.policy.pick(now, rng, key)
                if found is not None:
                    return found
        return None

    def _least_ejected(self, exclude: Collection[Host]) -> Host | None:
        """The ejected host that returns first."""
        limit = self._limit
        left = [host for host in self._ejected if host not in exclude and not (limit and host.active >= limit)]
        return min(left, key=lambda host: (host.group, host.until), default=None)
