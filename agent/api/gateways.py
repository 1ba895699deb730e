"""What Consul's clients ask of gateways. There are none here yet, so the answers are right and empty: they block, too."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.reads import read
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.core.requests import HEALTH_SERVICE_CHECKS, Read


async def services_of(request: ApiRequest) -> web.Response:
    """The services that a gateway is for."""
    return await _none(request, request.part("gateway", "Missing gateway name"))


async def ingress_of(request: ApiRequest) -> web.Response:
    """The healthy ingress gateways of a service."""
    return await _none(request, request.part("service", "Missing service name"))


async def _none(request: ApiRequest, name: str) -> web.Response:
    reply = await read(request, HEALTH_SERVICE_CHECKS, Read(name=name))
    return json_reply(request, (), reply.meta)


ROUTES: Final = (
    Route(("GET",), "/v1/catalog/gateway-services/{gateway:.*}", services_of, "service:read"),
    Route(("GET",), "/v1/health/ingress/{service:.*}", ingress_of, "service:read"),
)
