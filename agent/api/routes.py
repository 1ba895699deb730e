"""The whole route table of the HTTP API: add a module's ROUTES here. Called by `app.make_app`."""

from __future__ import annotations

from typing import Final

from chowk.agent.api import catalog, config_entries, connect, health, intentions, operator, registration, status
from chowk.agent.api.route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *status.ROUTES,
    *catalog.ROUTES,
    *registration.ROUTES,
    *health.ROUTES,
    *connect.ROUTES,
    *intentions.ROUTES,
    *config_entries.ROUTES,
    *operator.ROUTES,
)
