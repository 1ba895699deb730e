"""KV: keys and their values. What a key or a value holds is never looked into."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Final, TypeVar

from chowk.core.commands import DeleteKey, DeleteKeys, PutKey
from chowk.core.errors import InvalidRequest, TooLarge
from chowk.core.kv_requests import KV_LIST, KV_READ, KV_WRITE, KeyQuery, KeyReply, PrefixPage, PrefixQuery
from chowk.core.records.kv import FLAGS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX, KVEntry
from chowk.core.requests import Write, WriteReply
from chowk.server.rpc.context import ServerContext
from chowk.server.state.kv_table import key_topic, prefix_topic

T = TypeVar("T")

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
    meta, entries = await context.reads.run(query.options, topics, lambda store: store.kv.under(query.prefix))
    if query.keys_only:
        names = _names(entries, len(query.prefix), query.separator)
        pages = (PrefixPage(meta=meta, keys=tuple(page)) for page in _pages(names, len))
    else:
        pages = (PrefixPage(meta=meta, entries=tuple(page)) for page in _pages(entries, _size))
    for page in pages:
        yield page
        await asyncio.sleep(0)


def _names(entries: list[KVEntry], start: int, separator: bytes) -> Iterator[bytes]:
    """The keys, each cut behind the first separator from `start` on; what is cut to the same is told once, and passed over
    in steps that double, so that a page takes no longer for the many keys that it stands for."""
    at = 0
    while at < len(entries):
        key = entries[at].key
        end = key.find(separator, start) if separator else -1
        at += 1
        if end < 0:
            yield key
            continue
        name = key[: end + len(separator)]
        yield name
        step = 1
        while at + step <= len(entries) and entries[at + step - 1].key.startswith(name):
            at, step = at + step, step * 2
        stop = min(at + step, len(entries))
        at = bisect_left(entries, True, at, stop, key=lambda entry: not entry.key.startswith(name))


def _pages(rows: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """The rows in pages, made as they are asked for; one empty page when there are no rows."""
    page: list[T] = []
    is_first, size = True, 0
    for row in rows:
        page.append(row)
        size += size_of(row) + ROW_BYTES
        if size >= PAGE_BYTES or len(page) >= PAGE_ROWS_MAX:
            yield page
            page, is_first, size = [], False, 0
    if page or is_first:
        yield page


def _size(entry: KVEntry) -> int:
    return len(entry.key) + len(entry.value)


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
