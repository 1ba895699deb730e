"""The whole route table of the HTTP API: add a module's ROUTES here. Called by `app.make_app`."""

from __future__ import annotations

from typing import Final

from chowk.agent.api import (
    acl,
    agent_checks,
    agent_cluster,
    agent_connect,
    agent_metrics,
    agent_monitor,
    agent_self,
    agent_services,
    autopilot,
    catalog,
    config_entries,
    connect,
    coordinate,
    discovery_chain,
    events,
    health,
    intentions,
    keyring,
    kv,
    operator,
    registration,
    session,
    snapshot,
    status,
    txn,
)
from chowk.agent.api.route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *status.ROUTES,
    *agent_services.ROUTES,
    *agent_checks.ROUTES,
    *agent_self.ROUTES,
    *agent_metrics.ROUTES,
    *agent_monitor.ROUTES,
    *agent_cluster.ROUTES,
    *agent_connect.ROUTES,
    *catalog.ROUTES,
    *registration.ROUTES,
    *health.ROUTES,
    *connect.ROUTES,
    *coordinate.ROUTES,
    *intentions.ROUTES,
    *config_entries.ROUTES,
    *discovery_chain.ROUTES,
    *operator.ROUTES,
    *autopilot.ROUTES,
    *snapshot.ROUTES,
    *keyring.ROUTES,
    *events.ROUTES,
    *kv.ROUTES,
    *session.ROUTES,
    *txn.ROUTES,
    *acl.ROUTES,
)
