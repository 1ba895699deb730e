"""A compiled discovery chain: the way of a request to a service, as nodes that name each other and the targets at its end.

Made by `connect.chain.compile`; told by `/v1/discovery-chain`. `agent.api` gives it Consul's JSON.
"""

from __future__ import annotations

import msgspec

from chowk.core.records.resolver import FailoverPolicy, LoadBalancer, LocalityPriority, Subset
from chowk.core.records.router import Route
from chowk.core.records.splitter import Split, Sticky
from chowk.core.records.traffic import HeaderEdits

RESOLVER = "resolver"
SPLITTER = "splitter"
ROUTER = "router"


class ChainFailover(msgspec.Struct, frozen=True, kw_only=True):
    """Targets to use, in this order, when those before have no healthy instance."""

    targets: tuple[str, ...]
    policy: FailoverPolicy = FailoverPolicy()


class ChainResolver(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a way: one target. `default` says that no config entry made it. A timeout of 0 is none."""

    default: bool = False
    connect_timeout_s: float
    request_timeout_s: float = 0.0
    target: str
    failover: ChainFailover | None = None


class ChainRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One route of a router: what was written, the node it leads to ("" where the request is answered at once), and the
    node that copies go to.
    """

    definition: Route
    next_node: str
    mirror_node: str = ""


class ChainSplit(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a splitter: `weight` in percent. `edits` are those of the splitters it went through, outermost first."""

    definition: Split
    weight: float
    next_node: str
    request_edits: tuple[HeaderEdits, ...] = ()
    response_edits: tuple[HeaderEdits, ...] = ()


class ChainNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node: `name` is the service's for routers and splitters, the target's for resolvers; `type` says which it is."""

    type: str
    name: str
    routes: tuple[ChainRoute, ...] = ()
    splits: tuple[ChainSplit, ...] = ()
    sticky: Sticky | None = None
    resolver: ChainResolver | None = None
    load_balancer: LoadBalancer | None = None
    locality: LocalityPriority | None = None

    @property
    def key(self) -> str:
        """Its key among the nodes of a chain."""
        return f"{self.type}:{self.name}"


class ChainTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Instances to reach. `sni` is what their proxies expect; `external` when that is of another mesh; `name` is unique."""

    id: str
    service: str
    service_subset: str = ""
    namespace: str = "default"
    partition: str = "default"
    datacenter: str
    subset: Subset = Subset()
    mesh_gateway_mode: str = ""
    external: bool = False
    sni: str
    name: str


class CompiledChain(msgspec.Struct, frozen=True, kw_only=True):
    """The chain of one service as it is seen from `datacenter`. `start_node` is a key of `nodes`.

    `customization_hash` is "" unless overrides changed the chain; chains that differ by them differ in it. `default` says
    that no router, splitter or resolver has a part in it.
    """

    service_name: str
    namespace: str = "default"
    partition: str = "default"
    datacenter: str
    customization_hash: str = ""
    default: bool = False
    protocol: str
    service_meta: dict[str, str] = msgspec.field(default_factory=dict)
    start_node: str
    nodes: dict[str, ChainNode]
    targets: dict[str, ChainTarget]

    @property
    def start(self) -> ChainNode:
        """The node where a request begins."""
        return self.nodes[self.start_node]
