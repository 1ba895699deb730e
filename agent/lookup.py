"""What DNS knows of the registry: `dns.lookup.Lookup` over the agent's views. Made by `agent.boot`, asked by `dns.server`.

A name that nobody registered is answered from the `services` and `nodes` views and opens no view of its own, so that
queries for random names cost no memory. Names compare without case; an exact spelling wins.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from typing import Final

from chowk.agent.client.pool import ServerClient
from chowk.agent.views.instances import instances_of
from chowk.agent.views.names import spelling
from chowk.agent.views.queries import queries_of
from chowk.agent.views.views import View, Views
from chowk.core import errors
from chowk.core.events import (
    CONNECT,
    HEALTH,
    NODES,
    QUERIES,
    SERVICES,
    NodeItem,
    ServiceSummary,
    SummaryItem,
    Topic,
)
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.prepared_query import PreparedQuery
from chowk.core.requests import CATALOG_ADDRESS, STALE, AddressQuery, QueryOptions
from chowk.core.runtime.clock import Clock, SystemClock

ADDRESS: Final = "address"
ADDRESSES_MAX: Final = 1024
"""Answers of address lookups kept; the oldest goes first."""

ADDRESS_TTL_S: Final = 5.0
FETCH_S: Final = 5.0

_SERVICES: Final = Topic(kind=SERVICES)
_NODES: Final = Topic(kind=NODES)
_QUERIES: Final = Topic(kind=QUERIES)
_WHOLE: Final = {NODES: _NODES, QUERIES: _QUERIES}
_Owners = tuple[tuple[Node, ...], tuple[ServiceInstance, ...]]


class ViewLookup:
    """Answers from memory; `None` means not known yet: `await fetch(kind, key)` and ask again."""

    def __init__(self, views: Views, client: ServerClient, datacenter: str, clock: Clock | None = None) -> None:
        self._views = views
        self._client = client
        self._datacenter = datacenter
        self._clock = clock or SystemClock()
        self._addresses: OrderedDict[str, tuple[float, int, _Owners]] = OrderedDict()
        self._address_generations = count(1)

    @property
    def epoch(self) -> int:
        """Changes whenever a view does, one is opened, or one is closed."""
        return self._views.epoch

    def datacenters(self) -> tuple[str, ...]:
        """The datacenters that can be asked; our own is the first."""
        return (self._datacenter,)

    def instances(self, service: str, *, connect: bool) -> tuple[ServiceInstance, ...] | None:
        """All instances, whatever their health, ordered by node and id; `()` when there is no such service."""
        services = self._ready(_SERVICES)
        if services is None:
            return None
        name = spelling(services, service)
        if name is None:
            return ()
        view = self._ready(Topic(kind=CONNECT if connect else HEALTH, key=name))
        return None if view is None else instances_of(view)

    def summary(self, service: str) -> ServiceSummary | None:
        """The service as the catalog lists it; None when it does not exist, or nothing is known yet."""
        services = self._ready(_SERVICES)
        name = spelling(services, service) if services is not None else None
        item = services.items.get(name) if services is not None and name is not None else None
        return item.summary if isinstance(item, SummaryItem) else None

    def node(self, name: str) -> Node | None:
        """The node of that name; None when there is none, or nothing is known yet (see `nodes_known`)."""
        nodes = self._ready(_NODES)
        key = spelling(nodes, name) if nodes is not None else None
        item = nodes.items.get(key) if nodes is not None and key is not None else None
        return item.node if isinstance(item, NodeItem) else None

    def nodes_known(self) -> bool:
        """True once the nodes were seen."""
        return self._ready(_NODES) is not None

    def query(self, name: str) -> PreparedQuery | None:
        """The prepared query that a name means, filled in; None when there is none, or nothing is known yet."""
        queries = self._ready(_QUERIES)
        if queries is None:
            return None
        try:
            return queries_of(queries).resolve(name)
        except errors.InvalidRequest:
            return None

    def queries_known(self) -> bool:
        """True once the prepared queries were seen."""
        return self._ready(_QUERIES) is not None

    def by_address(self, address: str) -> _Owners | None:
        """The nodes and instances that have this IP address, as known for ADDRESS_TTL_S at most."""
        kept = self._kept_address(address)
        return None if kept is None else kept[2]

    def generation(self, kind: str, key: str) -> int:
        """A number that changes whenever an answer of that kind may have changed; 0: nothing is known."""
        if kind == ADDRESS:
            kept = self._kept_address(key)
            return 0 if kept is None else kept[1]
        if kind not in (HEALTH, CONNECT):
            view = self._ready(_WHOLE.get(kind, _SERVICES))
            return 0 if view is None else view.generation
        services = self._ready(_SERVICES)
        name = spelling(services, key) if services is not None else None
        if services is None or name is None:
            return 0 if services is None else services.generation
        view = self._ready(Topic(kind=kind, key=name))
        return 0 if view is None else view.generation

    async def fetch(self, kind: str, key: str) -> None:
        """Make `kind` (`health`, `connect`, `services`, `nodes`, `address`, `prepared-queries`) of `key` known. ChowkError
        when it cannot."""
        if kind == ADDRESS:
            await self._fetch_address(key)
        elif kind == NODES:
            await self._views.view(_NODES).wait_ready(FETCH_S)
        elif kind in (SERVICES, HEALTH, CONNECT):
            services = self._views.view(_SERVICES)
            await services.wait_ready(FETCH_S)
            name = spelling(services, key)
            if kind != SERVICES and name is not None:
                await self._views.view(Topic(kind=kind, key=name)).wait_ready(FETCH_S)
        elif kind == QUERIES:
            await self._views.view(_QUERIES).wait_ready(FETCH_S)
            query = self.query(key)
            if query is not None:
                await self.fetch(CONNECT if query.service.connect else HEALTH, query.service.service)
        else:
            raise errors.InvalidRequest(f"there is no lookup of {kind}")

    def _ready(self, topic: Topic) -> View | None:
        view = self._views.peek(topic)
        return view if view is not None and view.ready else None

    def _kept_address(self, address: str) -> tuple[float, int, _Owners] | None:
        kept = self._addresses.get(address)
        fresh = kept is not None and (self._clock.now() < kept[0] or not self._client.connected)
        return kept if fresh else None

    async def _fetch_address(self, address: str) -> None:
        options = QueryOptions(consistency=STALE)
        reply = await self._client.call(
            CATALOG_ADDRESS, AddressQuery(address=address, options=options), timeout_s=FETCH_S
        )
        owners = (reply.nodes, reply.instances)
        before = self._addresses.pop(address, None)
        unchanged = before is not None and before[2] == owners
        generation = before[1] if before is not None and unchanged else next(self._address_generations)
        self._addresses[address] = (self._clock.now() + ADDRESS_TTL_S, generation, owners)
        if len(self._addresses) > ADDRESSES_MAX:
            self._addresses.popitem(last=False)
