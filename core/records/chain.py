"""A compiled discovery chain: the way of a request to a service, as nodes that name each other and the targets at its end.

Made by `connect.chain.compile`; told by `/v1/discovery-chain`. `agent.api` gives it Consul's JSON.
"""

from __future__ import annotations

import msgspec

RESOLVER = "resolver"


class ChainResolver(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a way: one target. `default` says that no config entry made it."""

    default: bool = False
    connect_timeout_s: float
    target: str


class ChainNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node: `name` is the service's for routers and splitters, the target's for resolvers; `type` says which it is."""

    type: str
    name: str
    resolver: ChainResolver | None = None


class ChainTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Instances to reach. `sni` is what their proxies expect; `external` when that is of another mesh; `name` is unique."""

    id: str
    service: str
    service_subset: str = ""
    namespace: str = "default"
    partition: str = "default"
    datacenter: str
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
