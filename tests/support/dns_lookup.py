"""A registry in memory that DNS can ask: a `chowk.dns.lookup.Lookup` whose contents tests set and change."""

from __future__ import annotations

import asyncio

from chowk.core.errors import Unavailable
from chowk.core.events import ServiceSummary
from chowk.core.query_index import QueryIndex
from chowk.core.records.check import HealthCheck
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.prepared_query import PreparedQuery
from chowk.core.records.service import NodeService, Weights

EVEN = Weights()


class FakeLookup:
    """`known` False starts with nothing known: each thing must be fetched first. `broken` makes every fetch fail."""

    def __init__(self, *, known: bool = True) -> None:
        self.services: dict[str, tuple[ServiceInstance, ...]] = {}
        self.connect: dict[str, tuple[ServiceInstance, ...]] = {}
        self.summaries: dict[str, ServiceSummary] = {}
        self.nodes: dict[str, Node] = {}
        self.queries: list[PreparedQuery] = []
        self.known_everything = known
        self.fetched: set[tuple[str, str]] = set()
        self.fetches: list[tuple[str, str]] = []
        self.broken = False
        self.gate: asyncio.Event | None = None
        self.revision = 0
        self.asked = 0

    def changed(self) -> None:
        self.revision += 1

    @property
    def epoch(self) -> int:
        return self.revision

    def _known(self, kind: str, key: str) -> bool:
        return self.known_everything or (kind, key) in self.fetched

    def datacenters(self) -> tuple[str, ...]:
        return ("dc1", "dc2")

    def instances(self, service: str, *, connect: bool) -> tuple[ServiceInstance, ...] | None:
        self.asked += 1
        if not self._known("connect" if connect else "health", service):
            return None
        return (self.connect if connect else self.services).get(service, ())

    def summary(self, service: str) -> ServiceSummary | None:
        return self.summaries.get(service) if self._known("services", service) else None

    def node(self, name: str) -> Node | None:
        return self.nodes.get(name) if self._known("nodes", name) else None

    def nodes_known(self) -> bool:
        return self.known_everything or any(kind == "nodes" for kind, _ in self.fetched)

    def query(self, name: str) -> PreparedQuery | None:
        return QueryIndex(self.queries).resolve(name) if self.queries_known() else None

    def queries_known(self) -> bool:
        return self.known_everything or any(kind == "prepared-queries" for kind, _ in self.fetched)

    def by_address(self, address: str) -> tuple[tuple[Node, ...], tuple[ServiceInstance, ...]] | None:
        if not self._known("address", address):
            return None
        nodes = tuple(node for node in self.nodes.values() if node.address == address)
        rows = tuple(row for rows in self.services.values() for row in rows if row.address == address)
        return nodes, rows

    def generation(self, kind: str, key: str) -> int:
        return self.revision

    async def fetch(self, kind: str, key: str) -> None:
        self.fetches.append((kind, key))
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            raise Unavailable("no server can be reached")
        self.fetched.add((kind, key))


def instance(
    service: str,
    number: int,
    *,
    address: str = "",
    port: int = 8080,
    tags: tuple[str, ...] = (),
    status: str = "passing",
    node_address: str = "",
    node: str = "",
    weights: Weights = EVEN,
    check_id: str = "c1",
) -> ServiceInstance:
    name = node or f"n{number}"
    host = Node(node=name, address=node_address or f"10.0.{number // 250}.{number % 250 + 1}")
    return ServiceInstance(
        node=host,
        service=NodeService(
            id=f"{service}-{number}", service=service, address=address, port=port, tags=tags, weights=weights
        ),
        checks=(HealthCheck(node=name, check_id=check_id, status=status),),
    )
