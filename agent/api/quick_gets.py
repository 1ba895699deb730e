"""The plainest of reads, answered without aiohttp: of a service's instances, or of one key, also when they block.

Called by `connections` with the bytes that came; as with `quick_puts`, what could be read in more than one way, or asks for
more than PARAMETERS, is left to aiohttp with the same bytes. The answers are those of `health`, `catalog` and `kv`, byte for
byte but for the date. Why there is a second way at all: decision 012. A waiting client costs no task here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import unquote_plus

import msgspec
import structlog

from chowk.agent.api import compression, errors, query, variants
from chowk.agent.api.connections import Waiting
from chowk.agent.api.context import ApiContext
from chowk.agent.api.errors import HttpError
from chowk.agent.api.instances import at_once, from_view
from chowk.agent.api.known_instances import InstancesAnswer
from chowk.agent.api.kv import pair_of
from chowk.agent.api.plain_requests import HEAD_BYTES_MAX, HEADERS, Heads, may_be_short, plain_headers
from chowk.agent.api.reads import fetch_with
from chowk.agent.api.request import NEAR_AGENT
from chowk.agent.config.model import AgentConfig
from chowk.core import codec
from chowk.core.errors import ChowkError
from chowk.core.kv_requests import KV_READ, KeyQuery, KeyReply
from chowk.core.requests import QueryOptions

log = structlog.get_logger("chowk.http")

HEAD: Final = re.compile(
    rb"GET /v1/(health/service|health/connect|catalog/service|catalog/connect|kv)/([A-Za-z0-9._~/-]+)"
    rb"(?:\?([A-Za-z0-9._~=&%+:,()!/\"-]+))? HTTP/1\.1\r\n" + HEADERS
)
PARAMETERS: Final = frozenset(("index", "wait", "stale", "consistent", "dc"))
INSTANCES: Final = PARAMETERS | {"passing", "tag", "node-meta", "filter", "near", "cached"}
"""Those of reads of instances."""
WORDS: Final = frozenset(("tag", "node-meta", "filter", "near"))
"""Parameters whose values may be escaped."""
PLAIN_VALUE: Final = re.compile(r"[A-Za-z0-9._-]*")
PLANS_MAX: Final = 1024
"""Requests whose meaning is kept, by their bytes: clients ask the same again and again. All are forgotten beyond."""
JOIN_BYTES: Final = 16 * 1024
"""Larger bodies go out beside their head, not in one piece with it."""
JSON: Final = "application/json"

Out = tuple[bytes, ...]
Write = Callable[[asyncio.Future[Any]], Out | Coroutine[Any, Any, Out]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to ask for, and how to write the answer, of which `encoding` the client takes."""

    ask: Callable[[], asyncio.Future[Any]]
    write: Callable[[Any, str], Out | Coroutine[Any, Any, Out]]
    path: str
    encoding: str


class QuickGets:
    """Of one agent. `take` is `connections.Shortcut`."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._heads = Heads(context.clock)
        self._plans: dict[bytes, tuple[_Plan, Write]] = {}
        self._config: AgentConfig | None = None
        self._last: tuple[_Plan, Any, str, Out] | None = None

    def take(self, data: bytes) -> Waiting | None:
        """The answer to come to `data`; None: it is for aiohttp."""
        config = self._context.config()
        if config is not self._config:
            self._config = config
            self._plans.clear()
        known = self._plans.get(data)
        if known is None:
            plan = self._plan(data, config)
            if plan is None:
                return None
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            known = self._plans[data] = (plan, partial(self._write, plan))
        return Waiting(known[0].ask(), known[1])

    def _plan(self, data: bytes, config: AgentConfig) -> _Plan | None:
        head = HEAD.match(data, 0, HEAD_BYTES_MAX)
        if head is None or head.end() != len(data) or not may_be_short(config.http, head.end()):
            return None
        headers = plain_headers(head[4])
        if headers is None or b"content-length" in headers:
            return None
        noun, name = head[1].decode("ascii"), head[2].decode("ascii")
        parameters = _parameters(head[3], PARAMETERS if noun == "kv" else INSTANCES)
        if parameters is None or parameters.get("dc") not in ("", config.datacenter):
            return None
        kind, _, connect = noun.partition("/")
        try:
            options = query.read_options(parameters, headers.get(b"x-consul-token", b"").decode("ascii"), config.http)
            wish = variants.wanted_of(parameters, variants.CATALOG if kind == "catalog" else variants.HEALTH)
            is_cached = parameters.flag("cached") and not options.near
        except HttpError:
            return None
        near = config.node_name if options.near == NEAR_AGENT else options.near
        options = msgspec.structs.replace(options, datacenter="", near=near)
        path = f"/v1/{noun}/{name}"
        encoding = compression.choose(headers.get(b"accept-encoding", b"").decode("ascii"))
        reads, mesh = self._context.shared, connect == "connect"
        if noun == "kv":
            message = KeyQuery(key=head[2])
            fetch_key = fetch_with(self._context.client, KV_READ, message)
            return _Plan(lambda: reads.ask((KV_READ.name, message), options, fetch_key), self._key, path, encoding)
        fetch = self._context.known.fetch(name, connect=mesh)
        return _Plan(
            partial(self._from_view, name, mesh, options)
            if is_cached
            else lambda: reads.ask(("instances", name, mesh), options, fetch),
            lambda answer, coding: self._instances(answer, coding, wish),
            path,
            encoding,
        )

    def _from_view(self, name: str, mesh: bool, options: QueryOptions) -> asyncio.Future[InstancesAnswer]:
        known = None if options.min_index else at_once(self._context, name, connect=mesh)
        if known is None:
            return self._context.shared.run(from_view(self._context, name, options, connect=mesh))
        future: asyncio.Future[InstancesAnswer] = asyncio.get_running_loop().create_future()
        future.set_result(known)
        return future

    # --- answers

    def _write(self, plan: _Plan, future: asyncio.Future[Any]) -> Out | Coroutine[Any, Any, Out]:
        error = future.exception()
        if error is not None:
            return self._failure(plan, error)
        answer, date, last = future.result(), self._heads.now(), self._last
        if last is not None and last[0] is plan and last[1] is answer and last[2] == date:
            return last[3]
        out = plan.write(answer, plan.encoding)
        if isinstance(out, tuple):
            self._last = (plan, answer, date, out)
        return out

    def _failure(self, plan: _Plan, error: BaseException) -> Out:
        if isinstance(error, ChowkError):
            return self._text(errors.status_of(error), str(error))
        log.error("request failed", method="GET", path=plan.path, error=str(error), exc_info=error)
        return self._text(500, errors.INTERNAL)

    def _text(self, status: int, text: str) -> Out:
        body = text.encode()
        return _out(self._heads.make(status, "text/plain; charset=utf-8", len(body)), body)

    def _instances(
        self, answer: InstancesAnswer, encoding: str, wish: variants.Wanted
    ) -> Out | Coroutine[Any, Any, Out]:
        found, wanted = answer.found, answer.wanted(wish)
        body = found.made(wanted)
        if body is not None and (not encoding or len(body) < compression.BYTES_MIN):
            return self._rows(answer, body)
        packed = found.made(wanted, encoding) if body is not None else None
        if packed is not None:
            return self._rows(answer, packed, encoding)

        async def make() -> Out:
            body = await found.make(wanted)
            if not encoding or len(body) < compression.BYTES_MIN:
                return self._rows(answer, body)
            return self._rows(answer, await found.make(wanted, encoding), encoding)

        return make()

    def _rows(self, answer: InstancesAnswer, body: bytes, encoding: str = "") -> Out:
        view = None if answer.hit is None else (answer.hit, answer.age_s)
        return _out(self._heads.make(200, JSON, len(body), answer.meta, encoding, view), body)

    def _key(self, reply: KeyReply, encoding: str) -> Out | Coroutine[Any, Any, Out]:
        meta = reply.meta
        if reply.entry is None:
            return _out(self._heads.make(404, "text/plain; charset=utf-8", 0, meta), b"")
        body = codec.to_json((pair_of(reply.entry),))
        if not encoding or len(body) < compression.BYTES_MIN:
            return _out(self._heads.make(200, JSON, len(body), meta), body)

        async def compress() -> Out:
            packed = await compression.compressed(body, encoding)
            return _out(self._heads.make(200, JSON, len(packed), meta, encoding), packed)

        return compress()


def _out(head: bytes, body: bytes) -> Out:
    return (head + body,) if len(body) <= JOIN_BYTES else (head, body)


def _parameters(text: bytes | None, known: frozenset[str]) -> query.Query | None:
    """Those of a query string, all of them `known` ones; None when it is not plain."""
    values: dict[str, str] = {}
    repeated: dict[str, tuple[str, ...]] = {}
    pairs: Sequence[str] = text.decode("ascii").split("&") if text else ()
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name in WORDS:
            value = unquote_plus(value)
        elif not PLAIN_VALUE.fullmatch(value):
            return None
        if name not in known or not (value.isascii() and value.isprintable()):
            return None
        if name in query.REPEATABLE:
            repeated[name] = (*repeated.get(name, ()), value)
        elif name in values:
            return None
        values.setdefault(name, value)
    return query.Query(values, repeated)
