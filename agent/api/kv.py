"""`/v1/kv/…`: keys and values. A key is what stands behind `/v1/kv/`, percent-decoded once, byte for byte: `..`, `//` and
`%2f` are plain parts of it, and no file or path is ever made of it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web

from chowk.agent.api import body, compression
from chowk.agent.api.errors import HttpError, bad_request, not_found
from chowk.agent.api.reads import read
from chowk.agent.api.replies import json_bytes_reply, json_reply, missing_reply, set_meta
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.shared_reads import JITTER_PART
from chowk.agent.api.writes import write
from chowk.agent.client.pool import RPC_HOLD_S, TIMEOUT_S
from chowk.core import codec
from chowk.core.commands import DeleteKey, DeleteKeys, PutKey
from chowk.core.kv_requests import KV_LIST, KV_READ, KV_WRITE, KeyQuery, PrefixPage, PrefixQuery
from chowk.core.records.base import Record
from chowk.core.records.kv import FLAGS_MAX, VALUE_BYTES_MAX, KVEntry

ROOT: Final = "/v1/kv/"
FLAGS_DIGITS_MAX: Final = 20


class Pair(Record, frozen=True, kw_only=True):
    """An entry as JSON. What of a key is no UTF-8 shows as U+FFFD there, as in Consul."""

    lock_index: int
    key: str
    flags: int
    value: str | None
    session: str | msgspec.UnsetType = msgspec.UNSET
    create_index: int
    modify_index: int


async def get(request: ApiRequest) -> web.StreamResponse:
    """A key, `?raw` its bytes alone; `?recurse` all under a prefix, `?keys` their names."""
    key, query = _key(request), request.query
    if query.flag("keys") or query.flag("recurse"):
        return await _list(request, key)
    if not key:
        raise bad_request("Missing key name")
    reply = await read(request, KV_READ, KeyQuery(key=key))
    if reply.entry is None:
        return missing_reply("", reply.meta)
    if query.flag("raw"):
        response = web.Response(body=reply.entry.value, content_type="application/octet-stream")
        response.headers["Content-Security-Policy"] = "sandbox"
        set_meta(response, reply.meta)
        return response
    return json_bytes_reply(request, codec.to_json((pair_of(reply.entry),)), reply.meta)


async def put(request: ApiRequest) -> web.Response:
    """Write a key: `true`, or `false` when `?cas`, `?acquire` or `?release` lost."""
    query = request.query
    key = _key(request, "Missing key name")
    given = [name for name in ("cas", "acquire", "release") if name in query]
    if len(given) > 1:
        raise bad_request(f"Conflicting flags: {'&'.join(f'{name}={query.get(name)}' for name in given)}")
    for name in given:
        if name != "cas" and not query.get(name):
            raise bad_request(f"Missing session for ?{name}")
    limit = min(request.context.config().limits.kv_max_value_size, VALUE_BYTES_MAX)
    command = PutKey(
        key=key,
        value=await body.read(request.http, limit),
        flags=_flags(query.get("flags", "0")),
        cas=query.cas("Invalid cas value"),
        acquire=query.get("acquire"),
        release=query.get("release"),
    )
    reply = await write(request, KV_WRITE, command)
    return json_reply(request, reply.ok)


async def delete(request: ApiRequest) -> web.Response:
    """Remove a key, with `?recurse` all under a prefix: `true`, or `false` when `?cas` lost."""
    query = request.query
    recurse, cas = query.flag("recurse"), query.cas("Invalid cas value")
    if recurse and cas is not None:
        raise bad_request(f"Conflicting flags: cas={cas}&recurse=")
    if recurse:
        command: DeleteKeys | DeleteKey = DeleteKeys(prefix=_key(request))
    else:
        command = DeleteKey(key=_key(request, "Missing key name"), cas=cas)
    reply = await write(request, KV_WRITE, command)
    return json_reply(request, reply.ok)


async def _list(request: ApiRequest, prefix: bytes) -> web.StreamResponse:
    """Small answers whole; larger ones in parts, so that neither end holds more than a part of them."""
    query = request.query
    keys_only = query.flag("keys")
    separator = query.get("separator").encode() if keys_only else b""
    message = PrefixQuery(prefix=prefix, keys_only=keys_only, separator=separator, options=request.read_options())
    async with aclosing(_pages(request, message)) as pages:
        first = await anext(pages)
        rows = _rows(first)
        if not rows:
            return missing_reply("", first.meta)
        second = await anext(pages, None)
        if second is None:
            return json_bytes_reply(request, codec.to_json(rows), first.meta)
        response = web.StreamResponse()
        response.content_type = "application/json"
        set_meta(response, first.meta)
        encoding = compression.choose(request.http.headers.get("Accept-Encoding", ""))
        if encoding:
            response.headers["Content-Encoding"] = encoding
        await response.prepare(request.http)
        if request.http.method == "HEAD":
            return response  # what would be written here came before the next answer on the connection
        is_pretty, stream = query.flag("pretty"), compression.Stream(encoding)
        await response.write(await stream.add(b"[" + _inner(rows, is_pretty)))
        page: PrefixPage | None = second
        while page is not None:
            await response.write(await stream.add(b"," + _inner(_rows(page), is_pretty)))
            page = await anext(pages, None)
        await response.write_eof(await stream.add(b"\n]\n" if is_pretty else b"]") + stream.end())
        return response


def _inner(rows: Sequence[Any], is_pretty: bool) -> bytes:
    """What stands between the brackets of a list, laid out as `json_bytes_reply` does."""
    data = codec.to_json(rows)
    return msgspec.json.format(data, indent=4)[1:-2] if is_pretty else data[1:-1]


async def _pages(request: ApiRequest, message: PrefixQuery) -> AsyncGenerator[PrefixPage, None]:
    options = message.options
    wait_s = options.max_wait_s * (1 + 1 / JITTER_PART) + RPC_HOLD_S if options.min_index else 0.0
    async with aclosing(request.context.client.stream(KV_LIST, message, timeout_s=wait_s + TIMEOUT_S)) as pages:
        async for page in pages:
            yield page


def _rows(page: PrefixPage) -> Sequence[Any]:
    return [_text(key) for key in page.keys] or [pair_of(entry) for entry in page.entries]


def pair_of(entry: KVEntry) -> Pair:
    """The entry as Consul shows it."""
    return Pair(
        lock_index=entry.lock_index,
        key=_text(entry.key),
        flags=entry.flags,
        value=b64encode(entry.value).decode("ascii") if entry.value else None,
        session=entry.session or msgspec.UNSET,
        create_index=entry.create_index,
        modify_index=entry.modify_index,
    )


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")


def _key(request: ApiRequest, missing: str = "") -> bytes:
    """The key, from the request line as it came. An empty one is refused with 400 and the text `missing`, if given."""
    target = request.http.raw_path
    path = target.partition("?")[0].partition("#")[0] if target.startswith("/") else request.http.rel_url.raw_path
    if not path.startswith(ROOT):
        raise not_found("Invalid URL path: not a recognized HTTP API endpoint")
    key = unquote_to_bytes(path[len(ROOT) :].encode("utf-8", "surrogateescape"))
    if missing and not key:
        raise bad_request(missing)
    return key


def _flags(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= FLAGS_DIGITS_MAX and int(text) <= FLAGS_MAX):
        raise HttpError(400, "Invalid flags: must be an unsigned number of 64 bits")
    return int(text)


KEYS: Final = ROOT + "{key:(?s:.*)}"
ROUTES: Final = (
    Route(("GET",), KEYS, get, "key:read"),
    Route(("PUT",), KEYS, put, "key:write"),
    Route(("DELETE",), KEYS, delete, "key:write"),
)
