"""Faults that a route injects on purpose: whether this request is one that it hits. Pure; asked by outbound exchanges.

Trust boundary: an injection ends at its expiry by the clock of each host, whatever the servers say meanwhile.
"""

from __future__ import annotations

import random

from chowk.connect.proxy.http_faults import INJECTED, Fault
from chowk.connect.snapshot import FaultPlan


def injected_delay_s(plan: FaultPlan | None, wall_s: float, rng: random.Random) -> float:
    """How long the request is held; 0.0: it is not hit."""
    if plan is None or not plan.delay_percent or wall_s >= plan.expires_s:
        return 0.0
    return plan.delay_s if rng.random() * 100.0 < plan.delay_percent else 0.0


def injected_abort(plan: FaultPlan | None, wall_s: float, rng: random.Random) -> Fault | None:
    """What the request is answered; None: it is not hit."""
    if plan is None or not plan.abort_percent or wall_s >= plan.expires_s:
        return None
    hit = rng.random() * 100.0 < plan.abort_percent
    return Fault(INJECTED.name, plan.abort_status or INJECTED.status, INJECTED.text) if hit else None
