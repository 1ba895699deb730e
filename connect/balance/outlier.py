"""Passive health: who fails is left out for a while, longer each time. Pure; judged from how requests ended.

As Consul's `passive_health_check` (Envoy's outlier detection): a run of `max_failures` failed requests, or a success rate
far below the others', ejects a host for `ejection_s` times the number of its ejections. Beyond it: a host that cannot be
dialled is passed over at once for a moment, since that bridges the time until the registry's checks tell the truth.
Plain 5xx and gateway failures (502 to 504, resets, timeouts) count in one run, as Consul's `consecutive_5xx` does: a lower
bar for the second kind would need a setting that Consul's `passive_health_check` does not have.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Final

from chowk.connect.balance.hosts import Host, Outcome
from chowk.connect.snapshot import Outlier

PAUSE_S_MIN: Final = 0.5
PAUSE_S_MAX: Final = 8.0
"""Of a host that cannot be dialled: doubled each time."""
EJECTION_S_MAX: Final = 300.0
JITTER: Final = 0.1
"""Ejections last up to so much longer, so that hosts ejected together do not come back together, at every caller."""
RATE_HOSTS_MIN: Final = 5
RATE_REQUESTS_MIN: Final = 100
RATE_DEVIATIONS: Final = 1.9
"""A success rate is judged where so many hosts had so many requests in an interval; Envoy's numbers."""
RATE_GAP_MIN: Final = 0.05
"""And only where it is so far below the mean: among the perfect, one failure in a thousand is 2 deviations."""


class OutlierDetector:
    """The rules of one cluster. Each method returns for how long (seconds) to eject; 0.0 is not at all."""

    def __init__(self, rules: Outlier) -> None:
        self.rules = rules

    def judge(self, host: Host, outcome: Outcome, now: float, rng: random.Random) -> float:
        """A request to `host` ended so."""
        if outcome is Outcome.CANCELLED:
            return 0.0
        if outcome is Outcome.OK:
            host.succeeded += 1
            host.failures = 0
            return 0.0
        host.failed += 1
        host.failures += 1
        if host.until:
            return 0.0
        if outcome is Outcome.UNREACHABLE:
            pause = min(PAUSE_S_MIN * 2.0 ** min(host.dials_failed, 10), PAUSE_S_MAX)
            host.dials_failed += 1
            return pause * (1.0 + JITTER * rng.random())
        rules = self.rules
        if not rules.max_failures or host.failures < rules.max_failures:
            return 0.0
        host.failures = 0
        if rules.enforcing_percent < 100 and rng.random() * 100.0 >= rules.enforcing_percent:
            return 0.0
        return self.sentence(host, now, rng)

    def sentence(self, host: Host, now: float, rng: random.Random) -> float:
        """How long a host that failed is out; each `interval_s` in which it did well takes back one step."""
        rules = self.rules
        well = max(int((now - host.returned_at) / max(rules.interval_s, 0.1)), 0) if host.ejections else 0
        host.ejections = max(host.ejections - well, 0) + 1
        longest = max(EJECTION_S_MAX, rules.ejection_s)
        return min(rules.ejection_s * host.ejections, longest) * (1.0 + JITTER * rng.random())

    def may_eject(self, ejected: int, known: int) -> bool:
        """Whether one more of `known` may be sentenced; one may always be, so that the rule serves small groups too."""
        return ejected == 0 or (ejected + 1) * 100 <= known * self.rules.ejected_percent_max

    def sweep(self, hosts: Iterable[Host]) -> list[Host]:
        """At the end of an interval: those whose success rate is far below the mean. The counts begin anew."""
        rates: list[tuple[float, Host]] = []
        for host in hosts:
            requests = host.succeeded + host.failed
            if requests >= RATE_REQUESTS_MIN:
                rates.append((host.succeeded / requests, host))
            host.succeeded = host.failed = 0
        off = not self.rules.max_failures or not self.rules.enforcing_percent
        if off or len(rates) < RATE_HOSTS_MIN:
            return []
        mean = sum(rate for rate, _host in rates) / len(rates)
        deviation = math.sqrt(sum((rate - mean) ** 2 for rate, _host in rates) / len(rates))
        bar = mean - max(RATE_DEVIATIONS * deviation, RATE_GAP_MIN)
        return [host for rate, host in rates if rate < bar]
