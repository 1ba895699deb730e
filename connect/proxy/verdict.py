"""May this service connect here? What the intentions say, whether the service only watches what they would deny, and
whether a bypass is in force.

The one place where a denial is waived, so that connections and requests can never be judged by two rules. Called by
`inbound`.
"""

from __future__ import annotations

import msgspec

from chowk.connect.control import HostBypasses
from chowk.connect.intentions.decision import decide
from chowk.connect.snapshot import ProxySnapshot

PERMISSIVE = "permissive"
BYPASS = "bypass"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`waived` says why it is allowed although intentions deny it; "" when they allow it, or it is not allowed."""

    allowed: bool
    waived: str = ""
    reason: str = ""


NOBODY = Verdict(allowed=False, reason="there is no snapshot yet")


def judge_connection(snapshot: ProxySnapshot | None, source: str, now_s: float) -> Verdict:
    """The verdict at `now_s` (Unix seconds) on a connection from the service `source`, whose identity is proven."""
    if snapshot is None or snapshot.inbound is None:
        return NOBODY
    decision = decide(snapshot.intentions, source, snapshot.service, snapshot.default_allow)
    if decision.allowed:
        return Verdict(allowed=True, reason=decision.reason)
    return waive(snapshot, decision.reason, now_s)


def waive(snapshot: ProxySnapshot, reason: str, now_s: float) -> Verdict:
    """What becomes of a denial for `reason`: it stands, unless the service only watches, or is in a bypass."""
    if snapshot.inbound is not None and snapshot.inbound.permissive:
        return Verdict(allowed=True, waived=PERMISSIVE, reason=reason)
    if bypassed(snapshot, snapshot.service, now_s):
        return Verdict(allowed=True, waived=BYPASS, reason=reason)
    return Verdict(allowed=False, reason=reason)


def bypassed(snapshot: ProxySnapshot | None, service: str, now_s: float) -> bool:
    """Whether connections to `service` are in a bypass."""
    return snapshot is not None and any(
        each.service == service and now_s < each.expires_s for each in snapshot.bypasses
    )


def with_host_bypasses(snapshot: ProxySnapshot, told: HostBypasses) -> ProxySnapshot:
    """The snapshot with the bypasses of this host as they are now; those of the whole mesh stay for their time."""
    reached = {snapshot.service, *(target.service for target in snapshot.targets.values())}
    reached |= {upstream.name for upstream in snapshot.upstreams}
    stay = [each for each in snapshot.bypasses if not each.host and told.allowed]
    here = [each for each in told.active if each.service in reached]
    bypasses = tuple(sorted((*stay, *here), key=lambda each: (each.service, each.expires_s)))
    return msgspec.structs.replace(snapshot, bypasses=bypasses)
