"""ConfigEntry: replicated settings of the mesh."""

from __future__ import annotations

from functools import partial

from chowk.connect.entries.check import check_entry
from chowk.core.commands import DeleteConfigEntry, UpsertConfigEntry
from chowk.core.errors import InvalidRequest
from chowk.core.records.config_entry import KINDS
from chowk.core.requests import CONFIG_READ, CONFIG_WRITE, ConfigEntriesReply, ConfigEntryQuery, Write, WriteReply
from chowk.server.rpc.context import ServerContext
from chowk.server.state import queries


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.leader.serve(CONFIG_WRITE, partial(_write, context))
    context.gate.serve(CONFIG_READ, partial(_read, context))


async def _write(context: ServerContext, write: Write) -> WriteReply:
    context.reads.check_datacenter(write.datacenter)
    context.writes.admit(write, (UpsertConfigEntry, DeleteConfigEntry), CONFIG_WRITE.name)
    command = write.command
    if isinstance(command, UpsertConfigEntry):
        check_entry(command.entry)
    elif isinstance(command, DeleteConfigEntry):
        _check_kind(command.kind)
        if not command.name:
            raise InvalidRequest("Must provide a config entry name")
    return await context.writes.propose(command, write.client, write.sequence)


async def _read(context: ServerContext, query: ConfigEntryQuery) -> ConfigEntriesReply:
    if query.kind:
        _check_kind(query.kind)
    meta, found = await context.reads.run(
        query.options,
        (queries.entries_topic(query.kind),),
        lambda store: queries.entries(store, query.kind, query.name),
    )
    return ConfigEntriesReply(meta=meta, entries=found)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InvalidRequest(f'invalid config entry kind: "{kind}": use one of {", ".join(sorted(KINDS))}')
