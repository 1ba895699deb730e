"""The instances of a service, as `/v1/health/service`, `/v1/catalog/service` and their connect forms answer them.

From the servers, or with `?cached` from the agent's views. Called by `health`, `catalog`, `prepared_queries` and
`quick_gets`.
"""

from __future__ import annotations

from aiohttp import web

from chowk.agent.api import compression
from chowk.agent.api.context import ApiContext
from chowk.agent.api.known_instances import Found, InstancesAnswer, found_of
from chowk.agent.api.reads import follow, is_cached, mark_from_view, read_by, view_meta
from chowk.agent.api.replies import json_bytes_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.variants import wanted_of
from chowk.agent.views.names import spelling
from chowk.agent.views.views import View
from chowk.core.events import CONNECT, HEALTH, SERVICES, Topic
from chowk.core.requests import QueryOptions


async def rows(request: ApiRequest, shape: str, *, connect: bool) -> web.Response:
    """The instances of the service in the path that have the asked-for tags, node-meta and health and pass the filter, in a
    `shape` of `variants`; nearest first with `near`."""
    wish = wanted_of(request.query, shape)
    name = request.part("service", "Missing service name")
    if is_cached(request):
        answer = await from_view(request.context, name, request.read_options(), connect=connect)
    else:
        known = request.context.known.fetch(name, connect=connect)
        answer = await read_by(request, ("instances", name, connect), known)
    wanted, found = answer.wanted(wish), answer.found
    data = found.made(wanted)
    if data is None:
        data = await found.make(wanted)
    encoding = compression.choose(request.http.headers.get("Accept-Encoding", ""))
    packs = encoding and len(data) >= compression.BYTES_MIN and not request.query.flag("pretty")
    if packs:
        data = await found.make(wanted, encoding)
    response = json_bytes_reply(request, data, answer.meta)
    if answer.hit is not None:
        mark_from_view(response, answer.hit, answer.age_s)
    if packs:
        response.headers["Content-Encoding"] = encoding
    return response


async def from_view(context: ApiContext, name: str, options: QueryOptions, *, connect: bool) -> InstancesAnswer:
    """From the views. A name that nobody registered is answered by the `services` view: only who blocks on it opens one for
    it."""
    services, hit = await follow(context, Topic(kind=SERVICES), options, blocks=False)
    key = spelling(services, name)
    if key is None and not options.min_index:
        return _answer(services, Found((), 0, ""), hit)
    topic = Topic(kind=CONNECT if connect else HEALTH, key=name if key is None else key)
    view, hit = await follow(context, topic, options, blocks=True)
    return _answer(view, found_of(view), hit)


def at_once(context: ApiContext, name: str, *, connect: bool) -> InstancesAnswer | None:
    """As `from_view`, of views that are there; None when one is not, or its service is not."""
    services = context.views.peek(Topic(kind=SERVICES))
    key = spelling(services, name) if services is not None and services.ready else None
    view = context.views.peek(Topic(kind=CONNECT if connect else HEALTH, key=key)) if key is not None else None
    if view is None or not view.ready or view.failure is not None:
        return None
    return _answer(view, found_of(view), True)


def _answer(view: View, found: Found, hit: bool) -> InstancesAnswer:
    return InstancesAnswer(view_meta(view), found, hit=hit, age_s=int(view.age_s))
