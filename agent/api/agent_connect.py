"""`/v1/agent/connect/*`: what a service or a proxy of this host needs of the mesh. Answered from the agent's memory, so that
it goes on when every server is gone.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chowk.agent.api.errors import bad_request
from chowk.agent.api.reads import mark_cached, view_meta
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import ANYONE, Route
from chowk.agent.client.pool import TIMEOUT_S
from chowk.agent.views.views import View
from chowk.connect.ca.spiffe import check_service_name, parse_spiffe
from chowk.connect.intentions.decision import decide
from chowk.core.events import INTENTIONS, ROOTS, IntentionItem, RootsItem, Topic
from chowk.core.records.base import Record
from chowk.core.records.ca import CARoots
from chowk.core.records.intention import Intention

_ROOTS: Final = Topic(kind=ROOTS)


class AuthorizeBody(Record, frozen=True, kw_only=True):
    """The body of `authorize`. `client_cert_serial` is accepted; certificates are not revoked, they expire soon."""

    target: str = ""
    client_cert_uri: str = ""
    client_cert_serial: str = ""
    namespace: str = ""
    partition: str = ""


async def roots(request: ApiRequest) -> web.Response:
    """The trusted roots; blocks."""
    options = request.read_options()
    open_before = request.context.views.peek(_ROOTS)
    view = await _view(request, _ROOTS)
    if options.min_index:
        await view.wait_index(options.min_index, options.max_wait_s)
    return mark_cached(json_reply(request, _trusted(view), view_meta(view)), view, open_before is not None)


def _trusted(view: View) -> CARoots:
    item = view.items.get("")
    return item.roots if isinstance(item, RootsItem) else CARoots()


async def leaf(request: ApiRequest) -> web.Response:
    """A leaf and its private key for a service of this host; blocks until it was renewed."""
    service = request.part("service", "Missing service name")
    check_service_name(service)
    options = request.read_options()
    leaves = request.context.leaves
    if options.min_index:
        certificate = await leaves.wait_newer(service, options.min_index, options.max_wait_s)
    else:
        certificate = await leaves.leaf(service)
    response = json_reply(request, certificate)
    response.headers["X-Consul-Index"] = str(max(1, certificate.modify_index))
    response.headers["Cache-Control"] = "no-store"
    return response


async def authorize(request: ApiRequest) -> web.Response:
    """May the holder of this certificate connect to `Target`? For applications that speak mTLS themselves.

    Trust boundary: the caller has verified the certificate's chain; here its identity decides. An id of another trust
    domain, or one that is not exactly a service's, is never authorized, nor is anything an L7 intention rules.
    """
    body = await request.json_as(AuthorizeBody)
    if not body.target:
        raise bad_request("Target service must be specified")
    if not body.client_cert_uri:
        raise bad_request("ClientCertURI must be specified")
    try:
        client = parse_spiffe(body.client_cert_uri)
    except ValueError as error:
        raise bad_request(f"ClientCertURI not a valid Connect identifier: {error}") from None
    intentions = await _intentions(request, body.target)
    trusted = await _view(request, _ROOTS)
    domain = _trusted(trusted).trust_domain
    if client.trust_domain != domain:
        return _answer(request, False, f"Identity of another trust domain: {client.trust_domain}, ours is {domain}")
    default_allow = request.context.config().default_intention_policy != "deny"
    decision = decide(intentions, client.service, body.target, default_allow)
    return _answer(request, decision.allowed, decision.reason)


async def _view(request: ApiRequest, topic: Topic) -> View:
    view = request.context.views.view(topic)
    await view.wait_ready(TIMEOUT_S)
    return view


async def _intentions(request: ApiRequest, target: str) -> list[Intention]:
    view = await _view(request, Topic(kind=INTENTIONS, key=target))
    return [item.intention for item in view.items.values() if isinstance(item, IntentionItem)]


def _answer(request: ApiRequest, authorized: bool, reason: str) -> web.Response:
    return json_reply(request, {"Authorized": authorized, "Reason": reason})


ROUTES: Final = (
    Route(("POST", "PUT"), "/v1/agent/connect/authorize", authorize, "service:write"),
    Route(("GET",), "/v1/agent/connect/ca/roots", roots, ANYONE),
    Route(("GET",), "/v1/agent/connect/ca/leaf/{service:.*}", leaf, "service:write"),
)
