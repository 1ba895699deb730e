"""KV: keys and their values. What a key or a value holds is never looked into."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Final

from chowk.core.commands import DeleteKey, DeleteKeys, PutKey
from chowk.core.errors import InvalidRequest, TooLarge
from chowk.core.kv_requests import KV_LIST, KV_READ, KV_WRITE, KeyQuery, KeyReply, PrefixPage, PrefixQuery
from chowk.core.records.kv import FLAGS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX
from chowk.core.requests import Write, WriteReply
from chowk.server.rpc.context import ServerContext
from chowk.server.state.kv_table import key_topic, prefix_topic
from chowk.server.state.store import Store

PAGE_ROWS_MAX: Final = 1024
PAGE_BYTES: Final = 1024 * 1024
"""A page is full with the row that brings it over this."""
ROW_BYTES: Final = 64


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.leader.serve(KV_WRITE, partial(_write, context))
    context.gate.serve(KV_READ, partial(_read, context))
    context.gate.serve_stream(KV_LIST, partial(_list, context))


async def _write(context: ServerContext, write: Write) -> WriteReply:
    context.reads.check_datacenter(write.datacenter)
    context.writes.admit(write, (PutKey, DeleteKey, DeleteKeys), KV_WRITE.name)
    command = write.command
    if isinstance(command, PutKey):
        _check_put(command)
    elif isinstance(command, DeleteKey):
        _check_key(command.key)
    return await context.writes.propose(command, write.client, write.sequence)


async def _read(context: ServerContext, query: KeyQuery) -> KeyReply:
    _check_key(query.key)
    meta, entry = await context.reads.run(
        query.options, (key_topic(query.key),), lambda store: store.kv.entries.get(query.key)
    )
    return KeyReply(meta=meta, entry=entry)


async def _list(context: ServerContext, query: PrefixQuery) -> AsyncIterator[PrefixPage]:
    """At least one page. What is listed is settled at once; entries do not change, so that their pages are made later."""
    if len(query.prefix) > KEY_BYTES_MAX:
        raise InvalidRequest(f"A prefix is too long (limit: {KEY_BYTES_MAX} bytes)")
    topics = (prefix_topic(query.prefix),)
    if query.keys_only:
        meta, keys = await context.reads.run(query.options, topics, lambda store: _names(store, query))
        pages = (PrefixPage(meta=meta, keys=keys[start:end]) for start, end in _cuts([len(key) for key in keys]))
    else:
        meta, entries = await context.reads.run(query.options, topics, lambda store: store.kv.under(query.prefix))
        sizes = [len(entry.key) + len(entry.value) for entry in entries]
        pages = (PrefixPage(meta=meta, entries=tuple(entries[start:end])) for start, end in _cuts(sizes))
    for page in pages:
        yield page
        await asyncio.sleep(0)


def _names(store: Store, query: PrefixQuery) -> tuple[bytes, ...]:
    keys, separator = [entry.key for entry in store.kv.under(query.prefix)], query.separator
    if not separator:
        return tuple(keys)
    found: dict[bytes, None] = {}
    start = len(query.prefix)
    for key in keys:
        end = key.find(separator, start)
        found[key if end < 0 else key[: end + len(separator)]] = None
    return tuple(found)


def _cuts(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of each page; one empty page when there are no rows."""
    start, size = 0, 0
    for at, row in enumerate(sizes, 1):
        size += row + ROW_BYTES
        if size >= PAGE_BYTES or at - start >= PAGE_ROWS_MAX:
            yield start, at
            start, size = at, 0
    if start < len(sizes) or not sizes:
        yield start, len(sizes)


def _check_put(command: PutKey) -> None:
    _check_key(command.key)
    if len(command.value) > VALUE_BYTES_MAX:
        raise TooLarge(f"Value for key is too large ({len(command.value)} > {VALUE_BYTES_MAX} bytes)")
    if not 0 <= command.flags <= FLAGS_MAX:
        raise InvalidRequest("Invalid flags: must be an unsigned number of 64 bits")
    if sum((command.cas is not None, bool(command.acquire), bool(command.release))) > 1:
        raise InvalidRequest("Conflicting flags: only one of cas, acquire and release")


def _check_key(key: bytes) -> None:
    if not key:
        raise InvalidRequest("Missing key name")
    if len(key) > KEY_BYTES_MAX:
        raise InvalidRequest(f"Key is too long (limit: {KEY_BYTES_MAX} bytes)")
