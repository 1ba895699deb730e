"""One endpoint as the balancer sees it: its load, its latency, its faults. Mutable; owned by a `ClusterBalancer`.

Latency is a peak-sensitive moving average as in Finagle's balancer ("peak EWMA"): a slow answer counts at once, a fast
one pulls it down over DECAY_S, and it fades while nothing is heard, so that who was slow is asked again.
"""

from __future__ import annotations

import enum
import math
from typing import Final

from chowk.connect.snapshot import Endpoint, Target

DECAY_S: Final = 10.0
"""After so long without news a latency or a fault weighs a third (1/e)."""
ALIKE: Final = 1.5
"""Latencies that differ by less are the same."""
NO_DATA_S: Final = 1.0
"""The latency of a host that has work and never answered yet: one request finds out, not a crowd."""
FAULT_LOAD: Final = 8.0
"""A failed request weighs like so many in work: who fails fast would seem the fastest of all."""
FAULT_LOAD_MIN: Final = 0.5
FAULT_LOAD_MAX: Final = 64.0


class Outcome(enum.Enum):
    """How a request (or, of TCP, a connection) ended."""

    OK = "ok"
    """Answered, with whatever is not the server's fault (4xx is)."""
    ERROR = "error"
    """A 5xx that the service itself answered."""
    GATEWAY = "gateway"
    """502, 503, 504, a reset or a timeout: nobody there did the work."""
    UNREACHABLE = "unreachable"
    """It could not be dialled; surely no byte of the request was sent."""
    CANCELLED = "cancelled"
    """The caller went away: says nothing of the host."""


class Host:
    """Identity is the object: it stays the same while the endpoint keeps its key and address.

    `available`: may be picked. `share`: its weight over the mean weight. `until`: ejected until then (0.0: it is not);
    `sentenced`: for failed requests, not for a failed dial; `why` in words. `group` is -1 once it has left the cluster.
    """

    __slots__ = (
        "active", "available", "blame", "blamed_at", "dials_failed", "ejections", "endpoint", "failed",
        "failures", "group", "latency_s", "measured_at", "points", "queued", "returned_at", "sentenced", "share",
        "slot", "succeeded", "target", "turn", "until", "weight", "why",
    )  # fmt: skip

    def __init__(self, target: Target, endpoint: Endpoint) -> None:
        self.target = target
        self.endpoint = endpoint
        self.weight = max(endpoint.weight, 1)
        self.share = 1.0
        self.active = 0
        self.latency_s = -1.0
        self.measured_at = 0.0
        self.blame = 0.0
        self.blamed_at = 0.0
        # of the outlier detector
        self.failures = 0
        self.dials_failed = 0
        self.ejections = 0
        self.until = 0.0
        self.sentenced = False
        self.why = ""
        self.returned_at = 0.0
        self.succeeded = 0
        self.failed = 0
        # of the group and its policy
        self.group = 0
        self.available = False
        self.slot = -1
        self.turn = -1.0
        self.queued = False
        self.points: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"Host({self.target.id} {self.endpoint.key} active={self.active})"

    @property
    def spiffe_id(self) -> str:
        """The identity that it must prove."""
        return self.target.spiffe_id

    def load(self, now: float) -> float:
        """Requests in work for each mean weight, recent faults counted as such."""
        work = self.active / self.share
        if not self.blame:
            return work
        blame = self.blame * math.exp((self.blamed_at - now) / DECAY_S)
        if blame < FAULT_LOAD_MIN:  # else a host that failed once would lose against idle ones for ever
            self.blame = 0.0
        return work + blame

    def lighter(self, other: Host, now: float) -> bool:
        """Whether it has less to do than `other`."""
        return self.load(now) < other.load(now)

    def cheaper(self, other: Host, now: float) -> bool:
        """Whether one request more would take less time here: latency times load. Latencies that are alike count as the
        same, else the quickest of equals by a hair gets all requests of a quiet service, and the others go cold.
        """
        load, other_load = self.load(now), other.load(now)
        latency_s, other_s = self._expected_s(now, load), other._expected_s(now, other_load)
        if latency_s < other_s * ALIKE and other_s < latency_s * ALIKE:
            return load < other_load
        return latency_s * (1.0 + load) < other_s * (1.0 + other_load)

    def _expected_s(self, now: float, load: float) -> float:
        """Who never was asked is asked, but with one request until it has answered."""
        if self.latency_s < 0.0:
            return NO_DATA_S if load else 0.0
        return self.latency_s * math.exp((self.measured_at - now) / DECAY_S)

    def learn(self, now: float, outcome: Outcome, latency_s: float | None) -> None:
        """A request ended so. `latency_s` None: not known."""
        if outcome is Outcome.CANCELLED:
            return
        if outcome is not Outcome.OK:
            faded = self.blame * math.exp((self.blamed_at - now) / DECAY_S)
            self.blame, self.blamed_at = min(faded + FAULT_LOAD, FAULT_LOAD_MAX), now
            if self.latency_s >= 0.0:  # a fault can raise the latency and stops its fading; it is no measurement
                self.latency_s, self.measured_at = max(self.latency_s, latency_s or 0.0), now
            return
        self.blame *= 0.5
        if latency_s is None:
            return
        kept = math.exp((self.measured_at - now) / DECAY_S)
        if latency_s >= self.latency_s * kept:
            self.latency_s = latency_s
        else:
            self.latency_s = self.latency_s * kept + latency_s * (1.0 - kept)
        self.measured_at = now
