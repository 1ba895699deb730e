"""The HTTP API over real sockets: an aiohttp app on a free port, before a FakeServer, for one test at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from chowk.agent.api.app import make_app
from chowk.agent.api.context import ApiContext
from chowk.agent.api.routes import ROUTES
from chowk.agent.api.serve import ApiServer
from chowk.agent.checks.scheduler import CheckScheduler
from chowk.agent.client.pool import ServerClient
from chowk.agent.config.model import AgentConfig, ChecksConfig
from chowk.agent.local.state import LocalState
from chowk.agent.proxies.leaves import LeafCache
from chowk.agent.views.views import Views
from chowk.core.records.node import Node
from chowk.core.runtime.clock import SystemClock
from support.fake_server import FakeServer
from support.server_rig import running_server


@dataclass
class Answer:
    """One HTTP response, read whole."""

    status: int
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Api:
    """What a test drives: `config` may be replaced while it runs."""

    server: Any
    context: ApiContext
    http: ApiServer
    session: aiohttp.ClientSession
    config: AgentConfig

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        url = f"http://127.0.0.1:{self.http.port}{path}"
        async with self.session.request(method, aiohttp.client.URL(url, encoded=True), **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def put(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.ask("PUT", path, **({"json": body} if body is not None else {}), **options)


def with_api(
    path: Path,
    body: Callable[[Api], Awaitable[None]],
    config: AgentConfig | None = None,
    routes: Any = ROUTES,
) -> None:
    """Run `body` before a FakeServer, for 30 s at most, and take everything down."""

    async def run() -> None:
        server = FakeServer(path / "server.sock")
        await server.start()
        try:
            async with running_api(path, server, config, routes) as api:
                await asyncio.wait_for(body(api), 30)
        finally:
            await server.close()

    asyncio.run(run())


def with_registry(path: Path, body: Callable[[Api], Awaitable[None]], config: AgentConfig | None = None) -> None:
    """As `with_api`, before a real server room: state, streams and endpoints, over a consensus of one."""

    async def run() -> None:
        async with running_server(path) as rig, running_api(path, rig, config, ROUTES) as api:
            await asyncio.wait_for(body(api), 30)

    asyncio.run(run())


@asynccontextmanager
async def running_api(path: Path, server: Any, config: AgentConfig | None, routes: Any) -> AsyncIterator[Api]:
    """The API on a free port, its client at `path / "server.sock"`."""
    clock = SystemClock()
    client = ServerClient(path / "server.sock")
    views = Views(client, clock)
    local = LocalState(Node(node="n1", address="127.0.0.1"), clock, None, range(21000, 21010))
    context = ApiContext(
        config=lambda: api.config,
        client=client,
        views=views,
        clock=clock,
        local=local,
        checks=CheckScheduler(local, ChecksConfig(), clock),
        leaves=LeafCache(client, clock),
    )
    async with aiohttp.ClientSession() as session:
        api = Api(server, context, None, session, config or AgentConfig(node_name="n1"))  # type: ignore[arg-type]
        api.http = ApiServer(make_app(context, routes), ("127.0.0.1",), 0)
        await api.http.start()
        await client.start()
        await views.start()
        try:
            yield api
        finally:
            await session.close()
            await api.http.close()
            await views.close()
            await client.close()


def context_of_nothing(config: AgentConfig | None = None) -> ApiContext:
    """For what decides before it asks anything of the agent."""
    nothing: Any = None
    return ApiContext(
        config=lambda: config or AgentConfig(node_name="n"),
        client=nothing,
        views=nothing,
        clock=nothing,
        local=nothing,
        checks=nothing,
        leaves=nothing,
    )
