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

import structlog

from chowk.agent.api import compression, errors, query
from chowk.agent.api.catalog_service import rows_json
from chowk.agent.api.connections import Waiting
from chowk.agent.api.context import ApiContext
from chowk.agent.api.errors import HttpError
from chowk.agent.api.instances import health_json, passing_json
from chowk.agent.api.known_instances import InstancesAnswer, Make
from chowk.agent.api.kv import pair_of
from chowk.agent.api.plain_requests import HEAD_BYTES_MAX, HEADERS, Heads, may_be_short, plain_headers
from chowk.agent.api.reads import fetch_with
from chowk.agent.config.model import AgentConfig
from chowk.core import codec
from chowk.core.errors import ChowkError
from chowk.core.kv_requests import KV_READ, KeyQuery, KeyReply

log = structlog.get_logger("chowk.http")

HEAD: Final = re.compile(
    rb"GET /v1/(health/service|health/connect|catalog/service|catalog/connect|kv)/([A-Za-z0-9._~/-]+)"
    rb"(?:\?([A-Za-z0-9._=&-]+))? HTTP/1\.1\r\n" + HEADERS
)
PARAMETERS: Final = frozenset(("index", "wait", "stale", "consistent", "passing"))
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
        parameters = _parameters(head[3])
        if parameters is None:
            return None
        try:
            options = query.read_options(parameters, headers.get(b"x-consul-token", b"").decode("ascii"), config.http)
            passing = parameters.flag("passing")
        except HttpError:
            return None
        noun, name = head[1].decode("ascii"), head[2].decode("ascii")
        path = f"/v1/{noun}/{name}"
        encoding = compression.choose(headers.get(b"accept-encoding", b"").decode("ascii"))
        reads = self._context.shared
        if noun == "kv":
            if "passing" in parameters:
                return None
            message = KeyQuery(key=head[2])
            fetch_key = fetch_with(self._context.client, KV_READ, message)
            return _Plan(lambda: reads.ask((KV_READ.name, message), options, fetch_key), self._key, path, encoding)
        kind, _, connect = noun.partition("/")
        if kind == "catalog":
            if "passing" in parameters:
                return None
            variant, make = "catalog", rows_json
        else:
            variant, make = ("passing", passing_json) if passing else ("health", health_json)
        mesh = connect == "connect"
        fetch = self._context.known.fetch(name, connect=mesh)
        return _Plan(
            lambda: reads.ask(("instances", name, mesh), options, fetch),
            lambda answer, coding: self._instances(answer, coding, variant, make),
            path,
            encoding,
        )

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
        self, answer: InstancesAnswer, encoding: str, variant: str, make: Make
    ) -> Out | Coroutine[Any, Any, Out]:
        found, meta = answer.found, answer.meta
        body = found.json(variant, make)
        if not encoding or len(body) < compression.BYTES_MIN:
            return _out(self._heads.make(200, JSON, len(body), meta), body)
        packed = found.compressed(variant, encoding)
        if packed is not None:
            return _out(self._heads.make(200, JSON, len(packed), meta, encoding), packed)

        async def compress() -> Out:
            packed = await found.compress(variant, make, encoding)
            return _out(self._heads.make(200, JSON, len(packed), meta, encoding), packed)

        return compress()

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


def _parameters(text: bytes | None) -> query.Query | None:
    """Those of a query string without escapes; None when it is not plain."""
    values: dict[str, str] = {}
    pairs: Sequence[str] = text.decode("ascii").split("&") if text else ()
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in PARAMETERS or name in values or "=" in value:
            return None
        values[name] = value
    return query.Query(values, {})
