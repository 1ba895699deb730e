"""The whole route table of the HTTP API: add a module's ROUTES here. Called by `app.make_app`."""

from __future__ import annotations

from typing import Final

from chowk.agent.api import status
from chowk.agent.api.route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *status.ROUTES,  # one module a line
)
