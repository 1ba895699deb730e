"""One row of the route table. Every endpoint module lists its rows in `ROUTES`; `routes.py` joins them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from chowk.agent.api.request import ApiRequest

ANYONE: Final = "anyone"
"""The permission of what everybody may know."""

Handler = Callable[[ApiRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Route:
    """`methods` (HEAD comes with GET), an aiohttp `path` such as `/v1/health/service/{service:.*}`, who answers, and the
    permission the caller will need, as `resource:access` (`service:read`) or ANYONE; a route without one does not start.

    `body_bytes_max` 0 means the agent's `limits.body_bytes_max`. `repeatable` names query parameters that may come twice.
    """

    methods: tuple[str, ...]
    path: str
    handler: Handler
    permission: str
    body_bytes_max: int = 0
    repeatable: frozenset[str] = frozenset()
