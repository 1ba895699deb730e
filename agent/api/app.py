"""The HTTP API as an aiohttp application: the route table, and what holds for every request. Made by `agent.boot`.

`make_app` builds it, `serve` puts it on a port. Handlers live in one module a noun and are listed in `routes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from aiohttp import web

from chowk.agent.api import access, errors, query
from chowk.agent.api.connections import ConnectionGuard
from chowk.agent.api.context import ApiContext
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.routes import ROUTES
from chowk.core.errors import ChowkError
from chowk.core.runtime.sockets import bind_tcp

log = structlog.get_logger("chowk.http")

CONTEXT: Final = web.AppKey("context", ApiContext)
KEEPALIVE_S: Final = 120.0
CLOSE_S: Final = 2.0
HEADERS_MAX: Final = 128

AiohttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(context: ApiContext, routes: Sequence[Route] = ROUTES) -> web.Application:
    """The application. ValueError when a route names no permission, or two answer the same method of a path."""
    app = web.Application(middlewares=[_edge])
    app[CONTEXT] = context
    for path, rows in _by_path(routes).items():
        resource = app.router.add_resource(path)
        methods = sorted({*rows, *(["HEAD"] if "GET" in rows else [])})
        for method, row in rows.items():
            resource.add_route(method, _adapt(context, row))
            if method == "GET":
                resource.add_route("HEAD", _adapt(context, row))
        resource.add_route("OPTIONS", _options(("OPTIONS", *methods)))
    app.on_response_prepare.append(_set_headers)
    return app


def _by_path(routes: Sequence[Route]) -> dict[str, dict[str, Route]]:
    paths: dict[str, dict[str, Route]] = {}
    for route in routes:
        if not route.permission:
            raise ValueError(f"the route {route.path} names no permission")
        rows = paths.setdefault(route.path, {})
        for method in route.methods:
            if method in rows:
                raise ValueError(f"two routes answer {method} {route.path}")
            rows[method] = route
    return paths


def _adapt(context: ApiContext, route: Route) -> AiohttpHandler:
    async def handle(http: web.Request) -> web.StreamResponse:
        parameters = query.parse(http.rel_url.query, route.repeatable)
        token = query.parse_token(parameters, http.headers)
        limit = route.body_bytes_max or context.config().limits.body_bytes_max
        return await route.handler(ApiRequest(http, context, parameters, token, limit))

    return handle


def _options(methods: tuple[str, ...]) -> AiohttpHandler:
    allow = ", ".join(methods)

    async def answer(_http: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Allow": allow})

    return answer


@web.middleware
async def _edge(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
    """The outer edge of every request: who may come in, and every failure as a status and a plain text."""
    try:
        access.refuse(request.app[CONTEXT].config().http, request.method, request.path, request.remote or "")
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        allow = ", ".join(sorted(error.allowed_methods - {"OPTIONS"}))
        return _text(405, f"method {request.method} not allowed", {"Allow": allow})
    except web.HTTPNotFound:
        return _text(404, errors.INVALID_PATH)
    except ChowkError as error:
        return _text(errors.status_of(error), str(error))
    except (web.HTTPException, asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:  # the outer edge: a bug of ours ends one request, not the connection's neighbours
        log.error("request failed", method=request.method, path=request.path, error=str(error), exc_info=error)
        return _text(500, "Internal server error; the agent's log says more")


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text, headers=headers, content_type="text/plain", charset="utf-8")


async def _set_headers(http: web.Request, response: web.StreamResponse) -> None:
    headers = response.headers
    for name, value in http.app[CONTEXT].config().http.response_headers.items():
        headers[name] = value
    headers["Server"] = "chowk"
    headers["Vary"] = "Accept-Encoding"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Consul-Default-ACL-Policy"] = "allow"


class HttpServer:
    """One listening port of the API. Made by `serve`; `port` is the bound one."""

    def __init__(self, runner: web.AppRunner, server: asyncio.Server, guard: ConnectionGuard) -> None:
        self._runner = runner
        self._server = server
        self.guard = guard

    @property
    def port(self) -> int:
        """The TCP port, also when 0 was asked for."""
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening; requests under way get CLOSE_S to end."""
        self._server.close()
        await self._runner.cleanup()
        self.guard.abort()


async def serve(app: web.Application, host: str, port: int) -> HttpServer:
    """Listen on one address. An app serves one address; make one for each. PortTaken says who holds the port."""
    context = app[CONTEXT]
    limit = context.config().http.max_header_bytes
    sock = bind_tcp(host, port, "HTTP API")
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        keepalive_timeout=KEEPALIVE_S,
        shutdown_timeout=CLOSE_S,
        max_line_size=limit,
        max_field_size=limit,
    )
    try:
        await runner.setup()
        make_protocol = runner.server
        if make_protocol is None:
            raise RuntimeError("the application did not start")
        guard = ConnectionGuard(make_protocol, lambda: context.config().limits.http_max_conns_per_client)
        server = await asyncio.get_running_loop().create_server(guard.accept, sock=sock)
    except BaseException:
        sock.close()
        raise
    return HttpServer(runner, server, guard)
