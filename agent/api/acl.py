"""/v1/acl: access control is not there yet, and every client is told so in Consul's words, which libraries know."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.errors import HttpError
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route

DISABLED: Final = "ACL support disabled"


async def _refuse(_request: ApiRequest) -> web.Response:
    """Access control is off: 401 for everything."""
    raise HttpError(401, DISABLED)


ROUTES: Final = (Route(("GET", "PUT", "POST", "DELETE"), "/v1/acl/{path:.+}", _refuse, "acl:write"),)
