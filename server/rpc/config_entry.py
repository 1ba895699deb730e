"""ConfigEntry: replicated settings of the mesh.

A write is judged against the entries it will stand beside, so no other may come in between: writes that shape discovery
chains are checked and proposed one after the other, on the leader. `apply` judges nothing.
"""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from chowk.connect.chain.validation import Key, refuse_broken
from chowk.connect.entries import times
from chowk.connect.entries.check import check_entry, refuse
from chowk.core.commands import DeleteConfigEntry, UpsertConfigEntry
from chowk.core.errors import InvalidRequest
from chowk.core.records.bypass import ServiceBypass
from chowk.core.records.config_entry import KINDS, AnyConfigEntry, ServiceIntentions
from chowk.core.requests import (
    CONFIG_READ,
    CONFIG_WRITE,
    DEFAULT,
    ConfigEntriesReply,
    ConfigEntryQuery,
    Write,
    WriteReply,
)
from chowk.server.rpc.context import ServerContext
from chowk.server.state import queries

log = structlog.get_logger("chowk.bypass")


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.leader.serve(CONFIG_WRITE, partial(_write, context, asyncio.Lock()))
    context.gate.serve(CONFIG_READ, partial(_read, context))


async def _write(context: ServerContext, one_by_one: asyncio.Lock, write: Write) -> WriteReply:
    context.reads.check_datacenter(write.datacenter)
    context.writes.admit(write, (UpsertConfigEntry, DeleteConfigEntry), CONFIG_WRITE.name)
    command = write.command
    key, entry = _change(command)
    if entry is not None:
        check_entry(entry)
        refuse(times.check_times(entry, context.clock.wall()))
    if key[0] == ServiceIntentions.kind:
        return await context.writes.propose(command, write.client, write.sequence)
    async with one_by_one:
        await context.reads.settle(DEFAULT)
        refuse_broken(context.machine.store.entries, {key: entry})
        reply = await context.writes.propose(command, write.client, write.sequence)
        if key[0] == ServiceBypass.kind and reply.ok:
            _tell_bypass(key[1], entry)
        return reply


def _tell_bypass(service: str, entry: AnyConfigEntry | None) -> None:
    """For those who ask later who broke the glass: in the log of the server that wrote it, besides those of the sidecars."""
    if isinstance(entry, ServiceBypass):
        log.warning("bypass begins in the mesh", service=service, until=entry.expires, reason=entry.reason, by=entry.by)
    else:
        log.warning("bypass ended in the mesh", service=service)


def _change(command: object) -> tuple[Key, AnyConfigEntry | None]:
    """The entry that a command writes, or None in its place when it removes it."""
    if isinstance(command, UpsertConfigEntry):
        return (command.entry.kind, command.entry.name), command.entry
    if isinstance(command, DeleteConfigEntry):
        _check_kind(command.kind)
        if not command.name:
            raise InvalidRequest("Must provide a config entry name")
        return (command.kind, command.name), None
    raise InvalidRequest(f"{CONFIG_WRITE.name} writes or deletes a config entry")


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
