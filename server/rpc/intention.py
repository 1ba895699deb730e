"""Intention: who may connect to whom."""

from __future__ import annotations

from functools import partial

from chowk.connect.intentions.decision import decide
from chowk.connect.intentions.validation import SOURCES_MAX, check_name, check_source
from chowk.core import codec
from chowk.core.commands import DeleteIntention, UpsertIntention
from chowk.core.errors import InvalidRequest, TooLarge
from chowk.core.records.config_entry import ServiceIntentions
from chowk.core.records.intention import Intention
from chowk.core.requests import (
    INTENTION_CHECK,
    INTENTION_EXACT,
    INTENTION_LIST,
    INTENTION_MATCH,
    INTENTION_WRITE,
    IntentionCheckReply,
    IntentionExactQuery,
    IntentionMatchQuery,
    IntentionMatchReply,
    IntentionsReply,
    Read,
    Write,
    WriteReply,
)  # fmt: skip
from chowk.server.rpc.context import ServerContext
from chowk.server.rpc.writes import ENTRY_BYTES_MAX
from chowk.server.state import queries
from chowk.server.state.store import Store

MATCH_NAMES_MAX = 128


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.leader.serve(INTENTION_WRITE, partial(_write, context))
    context.gate.serve(INTENTION_LIST, partial(_list, context))
    context.gate.serve(INTENTION_MATCH, partial(_match, context))
    context.gate.serve(INTENTION_EXACT, partial(_exact, context))
    context.gate.serve(INTENTION_CHECK, partial(_check, context))


async def _write(context: ServerContext, write: Write) -> WriteReply:
    context.reads.check_datacenter(write.datacenter)
    context.writes.admit(write, (UpsertIntention, DeleteIntention), INTENTION_WRITE.name)
    command = write.command
    if isinstance(command, UpsertIntention):
        check_name(command.destination, "DestinationName")
        check_source(command.source, command.destination, "Source")
        _check_room(context.machine.store, command)
    elif isinstance(command, DeleteIntention) and not (command.destination and command.source):
        raise InvalidRequest("an intention is named by its source and its destination")
    return await context.writes.propose(command, write.client, write.sequence)


def _check_room(store: Store, command: UpsertIntention) -> None:
    """Sources are added one by one: together they are held to what one entry may be."""
    for entry in queries.entries(store, ServiceIntentions.kind, command.destination):
        sources = entry.sources if isinstance(entry, ServiceIntentions) else ()
        if len(sources) >= SOURCES_MAX and command.source.name not in {source.name for source in sources}:
            raise InvalidRequest(f"a destination takes at most {SOURCES_MAX} sources")
        if len(codec.pack(entry)) + len(codec.pack(command.source)) > ENTRY_BYTES_MAX:
            raise TooLarge(
                f'the intentions towards "{command.destination}" are over the limit of {ENTRY_BYTES_MAX} bytes'
            )


async def _list(context: ServerContext, request: Read) -> IntentionsReply:
    meta, found = await context.reads.run(request.options, (queries.intentions_topic(),), queries.intentions)
    return IntentionsReply(meta=meta, intentions=found)


async def _match(context: ServerContext, query: IntentionMatchQuery) -> IntentionMatchReply:
    if query.by not in ("source", "destination"):
        raise InvalidRequest(f'match intentions by "source" or "destination", not by "{query.by}"')
    if not 1 <= len(query.names) <= MATCH_NAMES_MAX:
        raise InvalidRequest(f"name 1 to {MATCH_NAMES_MAX} services to match")
    by_source = query.by == "source"
    topics = (queries.intentions_topic(),) if by_source else queries.intention_topics(query.names)
    pick = queries.intentions_from if by_source else queries.intentions_towards
    meta, found = await context.reads.run(
        query.options, topics, lambda store: tuple(pick(store, n) for n in query.names)
    )
    return IntentionMatchReply(meta=meta, matches=found)


async def _exact(context: ServerContext, query: IntentionExactQuery) -> IntentionsReply:
    if not query.id and not (query.source and query.destination):
        raise InvalidRequest("an intention is named by its id, or by its source and its destination")

    def read(store: Store) -> tuple[Intention, ...]:
        return tuple(each for each in queries.intentions(store) if _is(each, query))

    meta, found = await context.reads.run(query.options, (queries.intentions_topic(),), read)
    return IntentionsReply(meta=meta, intentions=found)


def _is(intention: Intention, query: IntentionExactQuery) -> bool:
    if query.id:
        return intention.id == query.id
    return (intention.source_name, intention.destination_name) == (query.source, query.destination)


async def _check(context: ServerContext, query: IntentionExactQuery) -> IntentionCheckReply:
    if not (query.source and query.destination):
        raise InvalidRequest("a check needs a source and a destination")
    meta, found = await context.reads.run(
        query.options,
        queries.intention_topics((query.destination,)),
        lambda store: queries.intentions_towards(store, query.destination),
    )
    decision = decide(found, query.source, query.destination, context.default_allow)
    return IntentionCheckReply(
        meta=meta, allowed=decision.allowed, intention=decision.intention, reason=decision.reason
    )
