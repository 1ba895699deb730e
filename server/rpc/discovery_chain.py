"""DiscoveryChain: the way to a service, compiled from the config entries of one moment."""

from __future__ import annotations

from functools import partial

from chowk.connect.ca.spiffe import check_service_name
from chowk.connect.chain.compile import ChainError, compile_chain
from chowk.connect.chain.entries import KINDS, ChainEntries
from chowk.core.chain_requests import CHAIN_GET, ChainQuery, ChainReply
from chowk.core.errors import InvalidRequest
from chowk.core.events import ROOTS, Topic
from chowk.core.records.chain import CompiledChain
from chowk.server.rpc.context import ServerContext
from chowk.server.state import queries
from chowk.server.state.store import Store

TEXT_CHARACTERS_MAX = 255


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.gate.serve(CHAIN_GET, partial(_get, context))


async def _get(context: ServerContext, query: ChainQuery) -> ChainReply:
    check_service_name(query.service)
    overrides = query.overrides
    if max(map(len, (query.evaluate_in, overrides.protocol, overrides.mesh_gateway_mode))) > TEXT_CHARACTERS_MAX:
        raise InvalidRequest(f"a datacenter, protocol or mode has at most {TEXT_CHARACTERS_MAX} characters")

    def compiled(store: Store) -> CompiledChain:
        entries = ChainEntries(entry for kind in KINDS for entry in queries.entries(store, kind, ""))
        datacenter = query.evaluate_in or context.options.datacenter
        try:
            return compile_chain(query.service, datacenter, store.trusted().trust_domain, entries, overrides)
        except ChainError as error:
            raise InvalidRequest(str(error)) from error

    topics = (queries.entries_topic(""), Topic(kind=ROOTS))
    meta, chain = await context.reads.run(query.options, topics, compiled)
    return ChainReply(meta=meta, chain=chain)
