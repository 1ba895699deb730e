"""The plainest of requests, answered without aiohttp: a whole, small `PUT /v1/kv/<key>` that came in one piece.

Called by `connections` with the bytes that came. What is not plain (a query, an escape, a header that is not in PLAIN, a
body that is not all there, one over the limit, an agent that restricts who may write) is left to aiohttp, with the same
bytes: there is one reading of a request, and this one takes only what can be read in one way. The answers are those of
`kv.put`, byte for byte but for the date. Why there is a second way at all: decision 010.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from chowk.agent.api import errors
from chowk.agent.api.context import ApiContext
from chowk.agent.api.plain_requests import HEAD_BYTES_MAX, HEADERS, Heads, may_be_short, plain_headers
from chowk.core.commands import PutKey
from chowk.core.errors import ChowkError
from chowk.core.kv_requests import KV_WRITE
from chowk.core.records.kv import VALUE_BYTES_MAX

log = structlog.get_logger("chowk.http")

HEAD: Final = re.compile(rb"PUT /v1/kv/([A-Za-z0-9._~/-]+) HTTP/1\.1\r\n" + HEADERS)
"""The key as it is, and headers."""
LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,6}")


class QuickPuts:
    """Of one agent. `take` is `connections.Shortcut`."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._heads = Heads(context.clock)

    def take(self, data: bytes) -> Coroutine[Any, Any, bytes] | None:
        """What makes the answer to `data`; None: it is for aiohttp."""
        head = HEAD.match(data, 0, HEAD_BYTES_MAX)
        if head is None:
            return None
        headers = plain_headers(head[2])
        if headers is None:
            return None
        length = headers.get(b"content-length", b"0")
        if not LENGTH.fullmatch(length) or head.end() + int(length) != len(data):
            return None
        config = self._context.config()
        if not may_be_short(config.http, head.end()):
            return None
        if int(length) > min(config.limits.kv_max_value_size, VALUE_BYTES_MAX):
            return None
        token = headers.get(b"x-consul-token", b"").decode("ascii")
        return self._put(PutKey(key=head[1], value=data[head.end() :]), token)

    async def _put(self, command: PutKey, token: str) -> bytes:
        client = self._context.client
        try:
            reply = await client.call(KV_WRITE, client.next_write(command, token=token))
        except ChowkError as error:
            return self._text(errors.status_of(error), str(error))
        except Exception as error:  # the outer edge, as of `app`
            path = f"/v1/kv/{command.key.decode('ascii')}"
            log.error("request failed", method="PUT", path=path, error=str(error), exc_info=error)
            return self._text(500, errors.INTERNAL)
        return self._answer(200, "application/json", b"true" if reply.ok else b"false")

    def _text(self, status: int, text: str) -> bytes:
        return self._answer(status, "text/plain; charset=utf-8", text.encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> bytes:
        return self._heads.make(status, content_type, len(body)) + body
