"""A health check as the catalog keeps it, and the statuses it can have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from chowk.core.records.base import Indexed

PASSING = "passing"
WARNING = "warning"
CRITICAL = "critical"
MAINTENANCE = "maintenance"
STATUSES = (PASSING, WARNING, CRITICAL)

NODE_MAINTENANCE_ID = "_node_maintenance"
SERVICE_MAINTENANCE_PREFIX = "_service_maintenance:"
SERF_HEALTH_ID = "serfHealth"
CERTIFICATES_ID = "chowk:certificates"
"""The node's check of its certificates. It is told, not judged: it takes nothing out of rotation."""

_SEVERITY = {PASSING: 0, WARNING: 1, CRITICAL: 2, MAINTENANCE: 3}


class HealthCheck(Indexed, frozen=True, kw_only=True):
    """One check of a node (`service_id` "") or of a service instance; (node, check_id) is unique."""

    node: str
    check_id: str
    name: str = ""
    status: str = CRITICAL
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: tuple[str, ...] = ()
    type: str = ""
    interval: str = ""
    timeout: str = ""
    exposed_port: int = 0
    definition: dict[str, Any] = msgspec.field(default_factory=dict)


def is_maintenance(check_id: str) -> bool:
    """True for the checks that maintenance mode adds."""
    return check_id == NODE_MAINTENANCE_ID or check_id.startswith(SERVICE_MAINTENANCE_PREFIX)


def worst_status(checks: Iterable[HealthCheck]) -> str:
    """The status all `checks` together give: the worst one; maintenance outranks critical; no checks pass."""
    worst = PASSING
    for check in checks:
        if check.check_id == CERTIFICATES_ID:
            continue
        status = MAINTENANCE if is_maintenance(check.check_id) else check.status
        if _SEVERITY.get(status, 2) > _SEVERITY[worst]:
            worst = status if status in _SEVERITY else CRITICAL
    return worst
