"""Reads of the registry for HTTP: options in, RPC, `max_stale`; and `?cached`, from the agent's views.

Called by the read endpoints. A client that goes away cancels its handler, and with it the blocking RPC.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import msgspec
from aiohttp import web

from chowk.agent.api.context import ApiContext
from chowk.agent.api.errors import bad_request
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.shared_reads import Answered, Fetch
from chowk.agent.client.pool import TIMEOUT_S, ServerClient
from chowk.agent.views.views import View
from chowk.core.events import Topic
from chowk.core.filter.expression import compile_filter
from chowk.core.filter.syntax import FilterError
from chowk.core.records.node import Node
from chowk.core.requests import DEFAULT, Method, QueryMeta, QueryOptions

T = TypeVar("T")
A = TypeVar("A", bound=Answered)
Q = TypeVar("Q", bound=msgspec.Struct)


async def read(request: ApiRequest, method: Method[Q, A], message: Q) -> A:
    """Call `method` with the request's options put into `message`, together with others who ask the same."""
    return await read_by(request, (method.name, message), fetch_with(request.context.client, method, message))


async def read_by(request: ApiRequest, what: Hashable, fetch: Fetch[A]) -> A:
    """What `fetch` gets with the request's options, shared by those who ask for `what`; once more, from the leader, when
    `max_stale` says so."""
    options, shared = request.read_options(), request.context.shared
    reply = await shared.ask(what, options, fetch)
    max_stale_s = request.query.duration_s("max_stale")
    if max_stale_s and reply.meta.last_contact_ms > max_stale_s * 1000:
        options = msgspec.structs.replace(options, consistency=DEFAULT, min_index=0)
        reply = await shared.ask(what, options, fetch)
    return reply


def fetch_with(client: ServerClient, method: Method[Q, A], message: Q) -> Fetch[A]:
    """What calls `method` with the options put into `message`."""

    async def fetch(options: QueryOptions, timeout_s: float) -> A:
        return await client.call(method, msgspec.structs.replace(message, options=options), timeout_s=timeout_s)

    return fetch


async def cached(request: ApiRequest, topic: Topic) -> tuple[View, bool] | None:
    """The view that answers a `?cached` request, after its blocking, and whether it was open before; None: ask servers."""
    if not is_cached(request):
        return None
    return await follow(request.context, topic, request.read_options(), blocks=True)


def is_cached(request: ApiRequest) -> bool:
    """Whether a view may answer. None knows who is near: the servers do."""
    return request.query.flag("cached") and not request.query.get("near")


async def follow(context: ApiContext, topic: Topic, options: QueryOptions, *, blocks: bool) -> tuple[View, bool]:
    """The view of a topic, known, and whether it was before; who `blocks` waits for a change, or the end of the wait."""
    view = context.views.view(topic)
    hit = view.ready
    await view.wait_ready(TIMEOUT_S)
    if blocks and options.min_index:
        await view.wait_index(options.min_index, options.max_wait_s)
    return view, hit


def view_meta(view: View) -> QueryMeta:
    """What is known of a view's items."""
    contact_ms = int(view.age_s * 1000)
    return QueryMeta(
        index=max(1, view.changed_index), known_leader=contact_ms == 0, last_contact_ms=contact_ms, consistency="stale"
    )


def mark_cached(response: web.Response, view: View, hit: bool) -> web.Response:
    """The headers of a reply from a view."""
    return mark_from_view(response, hit, int(view.age_s))


def mark_from_view(response: web.Response, hit: bool, age_s: int) -> web.Response:
    """`X-Cache`, and `Age`, the seconds since the servers were lost."""
    response.headers["X-Consul-Query-Backend"] = "streaming"
    response.headers["X-Cache"] = "HIT" if hit else "MISS"
    response.headers["Age"] = str(age_s)
    return response


def filtered(request: ApiRequest, kind: type[T]) -> Callable[[T], bool]:
    """The request's `?filter=` of records of `kind` (400 when it is wrong)."""
    try:
        return compile_filter(request.query.get("filter"), kind)
    except FilterError as error:
        raise bad_request(f"Failed to parse the filter expression: {error}") from None


def matches_meta(wanted: Mapping[str, str], node: Node) -> bool:
    """Does the node have every wanted `node-meta`?"""
    return all(node.meta.get(key) == value for key, value in wanted.items())
