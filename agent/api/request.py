"""What a handler is given: one HTTP request, checked and within reach of the agent. Made by `app` for each request."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from chowk.agent.api import body
from chowk.agent.api.context import ApiContext
from chowk.agent.api.errors import bad_request
from chowk.agent.api.query import Query, read_options
from chowk.core.requests import QueryOptions

T = TypeVar("T")
NEAR_AGENT: Final = "_agent"


class ApiRequest:
    """`http` is aiohttp's request, `context` the agent, `query` the checked parameters, `token` the ACL token or ""."""

    def __init__(self, http: web.Request, context: ApiContext, query: Query, token: str, body_bytes_max: int) -> None:
        self.http = http
        self.context = context
        self.query = query
        self.token = token
        self._body_bytes_max = body_bytes_max

    @property
    def method(self) -> str:
        """GET, PUT, …; a HEAD is seen as GET."""
        return "GET" if self.http.method == "HEAD" else self.http.method

    def part(self, name: str, missing: str = "") -> str:
        """A part of the path, unquoted. An empty one is refused with 400 and the text `missing`, when that is given."""
        value = self.http.match_info.get(name, "")
        if not value and missing:
            raise bad_request(missing)
        return value

    def read_options(self) -> QueryOptions:
        """Blocking, consistency, datacenter and nearness of a read; checks them. `near=_agent` is the node of this agent."""
        options = read_options(self.query, self.token, self.context.config().http)
        if options.near == NEAR_AGENT:
            options = msgspec.structs.replace(options, near=self.context.config().node_name)
        return options

    async def body(self) -> bytes:
        """The body, within the route's limit (413)."""
        return await body.read(self.http, self._body_bytes_max)

    async def json(self) -> Any:
        """The body as plain data (400 `Request decode failed: …`)."""
        return body.decode_json(await self.body())

    async def json_as(self, kind: type[T]) -> T:
        """The body as a `kind` of struct, strictly (400 `Request decode failed: …`)."""
        return body.convert(await self.json(), kind)
