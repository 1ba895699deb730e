"""The RPC of discovery chains: names, requests, replies, permission. See `core.requests`."""

from __future__ import annotations

from chowk.core.records.chain import CompiledChain
from chowk.core.requests import Message, Method, QueryMeta, QueryOptions


class ChainOverrides(Message, frozen=True, kw_only=True):
    """What a caller wants otherwise than the config entries say; "" and 0 leave it to them."""

    protocol: str = ""
    connect_timeout_s: float = 0.0
    mesh_gateway_mode: str = ""


class ChainQuery(Message, frozen=True, kw_only=True):
    """The chain of `service`, as seen from datacenter `evaluate_in` ("" is the server's own)."""

    service: str
    evaluate_in: str = ""
    overrides: ChainOverrides = ChainOverrides()
    options: QueryOptions = QueryOptions()


class ChainReply(Message, frozen=True, kw_only=True):
    """The chain, compiled from the config entries at `meta.index`."""

    meta: QueryMeta
    chain: CompiledChain


CHAIN_GET = Method("DiscoveryChain.Get", ChainQuery, ChainReply, "service:read")
