"""`/v1/connect/ca/*`: the mesh's certificate authority. No private key and no provider's secret is ever answered."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from chowk.agent.api.reads import read
from chowk.agent.api.replies import empty_reply, json_reply, set_meta
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import ANYONE, Route
from chowk.core.records.base import Record
from chowk.core.records.ca import CAConfiguration, CARoots
from chowk.core.requests import (
    CA_CONFIGURATION,
    CA_CONFIGURE,
    CA_ROOTS,
    CA_ROTATE,
    CAConfigurationWrite,
    CARotate,
    Read,
)

SECRETS: Final = frozenset({"privatekey", "token", "secretid", "password", "accesskeyid", "secretaccesskey"})
HIDDEN: Final = "hidden"
ROTATE_TIMEOUT_S: Final = 30.0


class ConfigurationBody(Record, frozen=True, kw_only=True):
    """The body of `PUT ca/configuration`."""

    provider: str = "consul"
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    state: dict[str, str] | None = None
    force_without_cross_signing: bool = False
    create_index: int = 0
    modify_index: int = 0


async def roots(request: ApiRequest) -> web.Response:
    """The trusted roots; with `?pem=true` their certificates as one PEM chain."""
    reply = await read(request, CA_ROOTS, Read())
    if not request.query.truth("pem", empty=False):
        return json_reply(request, reply.roots, reply.meta)
    response = web.Response(body=_chain(reply.roots), content_type="application/pem-certificate-chain")
    set_meta(response, reply.meta)
    return response


def _chain(roots: CARoots) -> bytes:
    return "".join(root.root_cert_pem.rstrip("\n") + "\n" for root in roots.roots).encode()


async def configuration(request: ApiRequest) -> web.Response:
    """The CA's settings, with every secret hidden."""
    reply = await read(request, CA_CONFIGURATION, Read())
    shown = msgspec.structs.replace(reply.configuration, config=_hide(reply.configuration.config))
    return json_reply(request, shown, reply.meta)


def _hide(config: dict[str, Any]) -> dict[str, Any]:
    return {
        key: HIDDEN
        if value and key.lower().replace("_", "") in SECRETS
        else (_hide(value) if isinstance(value, dict) else value)
        for key, value in config.items()
    }


async def configure(request: ApiRequest) -> web.Response:
    """Replace the CA's settings."""
    body = await request.json_as(ConfigurationBody)
    wanted = CAConfiguration(
        provider=body.provider,
        config=body.config,
        state=body.state,
        force_without_cross_signing=body.force_without_cross_signing,
    )
    message = CAConfigurationWrite(configuration=wanted, token=request.token)
    await request.context.client.call(CA_CONFIGURE, message)
    return empty_reply()


async def rotate(request: ApiRequest) -> web.Response:
    """Begin to rotate the root: `{"RootID": …}`. It signs once everybody trusts it; with `?emergency`, at once.

    With `?distrust` too, the roots before it are trusted no more: connections fail until every leaf is renewed.
    """
    message = CARotate(
        emergency=request.query.truth("emergency"), distrust=request.query.truth("distrust"), token=request.token
    )
    reply = await request.context.client.call(CA_ROTATE, message, timeout_s=ROTATE_TIMEOUT_S)
    return json_reply(request, {"RootID": reply.root_id})


ROUTES: Final = (
    Route(("GET",), "/v1/connect/ca/roots", roots, ANYONE),
    Route(("GET",), "/v1/connect/ca/configuration", configuration, "operator:read"),
    Route(("PUT",), "/v1/connect/ca/configuration", configure, "operator:write"),
    Route(("PUT",), "/v1/connect/ca/rotate", rotate, "operator:write"),
)
