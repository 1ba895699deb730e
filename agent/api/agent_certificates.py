"""`GET /v1/agent/metrics/certificates`: every certificate this agent knows or holds, and how long it lives. No key is shown.

Answered from memory, also when every server is gone. Called by `agent_metrics` too, for the gauges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from aiohttp import web
from cryptography import x509

from chowk.agent.api.context import ApiContext
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.views.views import Views
from chowk.core.errors import ChowkError
from chowk.core.events import ROOTS, RootsItem, Topic
from chowk.core.records.ca import CARoots, unix_s
from chowk.core.runtime.rpc.trust import LIFE_S as CLUSTER_LIFE_S

ROOT: Final = "root"
INTERMEDIATE: Final = "intermediate"
LEAF: Final = "leaf"
CLUSTER: Final = "agent"
TYPES: Final = (ROOT, INTERMEDIATE, LEAF, CLUSTER)

DAY_S: Final = 86_400.0
WARNING_DAYS: Final = 30
CRITICAL_DAYS: Final = 7
WARNING_PART: Final = 0.25
CRITICAL_PART: Final = 0.10
"""A certificate that lives shorter than months is judged by the part of its life that is left, not by days."""
SIDECAR_LIFE_S: Final = 72 * 3600.0
"""Of a leaf whose begin its sidecar does not tell."""
SIGNS: Final = "signs"
NEXT: Final = "next"
ROTATED_OUT: Final = "rotated out"
VOUCHES: Final = "vouches"
IN_USE: Final = "in use"
"""Phases. A root is `next` while it is trusted and does not sign yet, `rotated out` while what it signed is trusted; what
`vouches` is the root that signs, as signed by the one before."""
SEVERITIES: Final = ("ok", "warning", "critical")
NAMED_BY: Final = 11
"""Roots have one name; so much of the id tells them apart."""
ROOTS_S: Final = 1.0
"""How long the roots are waited for when no view of them is open yet."""


class CertificateLife(NamedTuple):
    """One certificate. Times are Unix seconds; `active` is false of what signs no more, or not yet. `phase`: see above."""

    type: str
    name: str
    begins_s: float
    ends_s: float
    active: bool = True
    phase: str = IN_USE

    def left_s(self, now_s: float) -> float:
        """Seconds until it ends, negative when it has."""
        return self.ends_s - now_s

    def severity(self, now_s: float) -> str:
        """One of SEVERITIES. What signs no more may end."""
        if not self.active:
            return "ok"
        left_s, life_s = self.left_s(now_s), self.ends_s - self.begins_s
        if left_s < min(CRITICAL_DAYS * DAY_S, CRITICAL_PART * life_s):
            return "critical"
        return "warning" if left_s < min(WARNING_DAYS * DAY_S, WARNING_PART * life_s) else "ok"


async def known_certificates(context: ApiContext) -> tuple[CertificateLife, ...]:
    """The mesh's roots and intermediates, the leaves of this host's services, and the agent's own certificate."""
    return (*_of_mesh(await _roots(context)), *_leaves(context), *_own(context))


async def _roots(context: ApiContext) -> CARoots:
    view = context.views.view(Topic(kind=ROOTS))
    try:
        await view.wait_ready(ROOTS_S)
    except ChowkError:
        return CARoots()
    return known_roots(context.views)


def known_roots(views: Views) -> CARoots:
    """The roots that the mesh trusts, as far as this agent knows now."""
    item = views.view(Topic(kind=ROOTS)).items.get("")
    return item.roots if isinstance(item, RootsItem) else CARoots()


def _of_mesh(roots: CARoots) -> Iterator[CertificateLife]:
    for root in roots.roots:
        phase = SIGNS if root.active else (ROTATED_OUT if root.rotated_out_at else NEXT)
        begin, end = unix_s(root.not_before), unix_s(root.not_after)
        yield CertificateLife(ROOT, f"{root.name} {root.id[:NAMED_BY]}".strip(), begin, end, root.active, phase)
        for place, pem in enumerate(root.intermediate_certs):
            try:
                found = x509.load_pem_x509_certificate(pem.encode())
            except ValueError:
                continue
            begin, end = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
            signs = root.active and place == 0
            phase = SIGNS if signs else (VOUCHES if root.active else ROTATED_OUT)
            yield CertificateLife(INTERMEDIATE, found.subject.rfc4514_string(), begin, end, signs, phase)


def _leaves(context: ApiContext) -> Iterator[CertificateLife]:
    for leaf in context.leaves.held():
        yield CertificateLife(LEAF, leaf.service, unix_s(leaf.valid_after), unix_s(leaf.valid_before))
    for proxy in context.proxies.status() if context.proxies is not None else ():
        if proxy.report is not None and proxy.report.leaf_valid_before:
            end = unix_s(proxy.report.leaf_valid_before)
            begin = unix_s(proxy.report.leaf_valid_after) if proxy.report.leaf_valid_after else end - SIDECAR_LIFE_S
            yield CertificateLife(LEAF, proxy.proxy_id, begin, end)


def _own(context: ApiContext) -> Iterator[CertificateLife]:
    end = context.certificate_ends()
    if end is not None:
        yield CertificateLife(CLUSTER, context.config().node_name, end - CLUSTER_LIFE_S, end)


async def certificates(request: ApiRequest) -> web.Response:
    """All of them, those that end first at the top, and a summary."""
    now_s = request.context.clock.wall()
    found = sorted(await known_certificates(request.context), key=lambda each: (each.ends_s, each.type, each.name))
    severities = Counter(each.severity(now_s) for each in found)
    types = Counter(each.type for each in found)
    answer = {
        "Certificates": [_shown(each, now_s) for each in found],
        "Summary": {
            "Total": len(found),
            "BySeverity": {name: severities[name] for name in SEVERITIES},
            "ByType": {name: types[name] for name in TYPES},
        },
        "Thresholds": {"CriticalDays": CRITICAL_DAYS, "WarningDays": WARNING_DAYS},
    }
    return json_reply(request, answer)


def _shown(life: CertificateLife, now_s: float) -> dict[str, Any]:
    left_s = life.left_s(now_s)
    return {
        "Type": life.type,
        "Name": life.name,
        "Active": life.active,
        "Phase": life.phase,
        "NotBefore": _text(life.begins_s),
        "NotAfter": _text(life.ends_s),
        "SecondsRemaining": int(left_s),
        "DaysRemaining": int(left_s // DAY_S),
        "Severity": life.severity(now_s),
    }


def _text(moment_s: float) -> str:
    return datetime.fromtimestamp(int(moment_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


ROUTES: Final = (Route(("GET",), "/v1/agent/metrics/certificates", certificates, "agent:read"),)
