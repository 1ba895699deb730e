"""The instances of a service, as `/v1/health/service`, `/v1/catalog/service` and their connect forms ask for them.

From the servers, or with `?cached` from the agent's views. Called by `health`, `catalog` and `prepared_queries`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from chowk.agent.api.known_instances import Found
from chowk.agent.api.reads import follow, has_tags, is_cached, mark_cached, matches_meta, read_by, view_meta
from chowk.agent.api.request import ApiRequest
from chowk.agent.views.instances import instances_of
from chowk.agent.views.names import spelling
from chowk.agent.views.views import View
from chowk.core import codec
from chowk.core.events import CONNECT, HEALTH, SERVICES, Topic
from chowk.core.records.check import PASSING
from chowk.core.records.instance import ServiceInstance
from chowk.core.requests import QueryMeta

_Wanted = Callable[[ServiceInstance], bool]


@dataclass(frozen=True)
class Instances:
    """What was found, ordered by node name and service id; `view` and `hit` are set when it came from a view.

    `whole` says that no tag, node-meta or health narrowed it: all that the view, or `found`, holds.
    """

    meta: QueryMeta
    instances: Sequence[ServiceInstance]
    view: View | None = None
    hit: bool = False
    whole: bool = False
    found: Found | None = None

    def mark(self, response: web.Response) -> web.Response:
        """The reply with the headers of where it came from."""
        return response if self.view is None else mark_cached(response, self.view, self.hit)


async def find(request: ApiRequest, *, connect: bool) -> Instances:
    """The instances of the service in the path that have the asked-for tags, node-meta and health; nearest first with
    `near`."""
    name = request.part("service", "Missing service name")
    wanted = _wanted(request)
    if is_cached(request):
        return await from_view(request, name, wanted, connect=connect)
    known = request.context.known.fetch(name, connect=connect)
    answer = await read_by(request, ("instances", name, connect), known)
    instances = answer.found.instances
    if wanted is None:
        return Instances(answer.meta, instances, whole=True, found=answer.found)
    return Instances(answer.meta, list(filter(wanted, instances)))


async def from_view(request: ApiRequest, name: str, wanted: _Wanted | None, *, connect: bool) -> Instances:
    """From the views, those that are wanted (None: all). A name that nobody registered is answered by the `services` view:
    only who blocks on it opens one for it."""
    services, hit = await follow(request, Topic(kind=SERVICES), min_index=0)
    key, blocks = spelling(services, name), request.read_options().min_index
    if key is None and not blocks:
        return Instances(view_meta(services), (), services, hit)
    topic = Topic(kind=CONNECT if connect else HEALTH, key=name if key is None else key)
    view, hit = await follow(request, topic, min_index=blocks)
    if wanted is None:
        return Instances(view_meta(view), instances_of(view), view, hit, whole=True)
    return Instances(view_meta(view), list(filter(wanted, instances_of(view))), view, hit)


def health_json(instances: Sequence[ServiceInstance]) -> bytes:
    """The rows of `/v1/health/service`."""
    return codec.to_json(instances)


def passing_json(instances: Sequence[ServiceInstance]) -> bytes:
    """Those with `?passing`."""
    return codec.to_json([instance for instance in instances if instance.status == PASSING])


def _wanted(request: ApiRequest) -> _Wanted | None:
    """Which instances are asked for; None: all."""
    tags, meta = request.query.all("tag"), request.query.node_meta()
    passing_only = request.query.flag("passing")
    if not (tags or meta or passing_only):
        return None

    def wanted(instance: ServiceInstance) -> bool:
        return (
            has_tags(tags, instance.service.tags)
            and matches_meta(meta, instance.node)
            and (not passing_only or instance.status == PASSING)
        )

    return wanted
