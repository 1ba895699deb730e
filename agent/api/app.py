"""The HTTP API as an aiohttp application: the route table, and what holds for every request. Made by `agent.boot`.

`make_app` builds it, `serve.ApiServer` puts it on its ports. Handlers live in one module a noun and are listed in `routes`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from aiohttp import web

from chowk.agent.api import access, compression, errors, query
from chowk.agent.api.context import CONTEXT, ApiContext
from chowk.agent.api.pieces import in_pieces
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.agent.api.routes import ROUTES
from chowk.agent.api.serve import ApiServer
from chowk.agent.config.model import AgentConfig
from chowk.core.errors import ChowkError, NoPathToDatacenter

log = structlog.get_logger("chowk.http")

FRAMING: Final = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding", "connection"})
"""Headers that say what the body is; `http_config.response_headers` does not change them."""

ANY_PART: Final = re.compile(r"\{(\w+):\.([*+])\}")
"""A part of a path that takes any name: any character is in it, a line's end too."""

PATH_SHOWN: Final = 256
"""Characters of a path that the log shows."""

AiohttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(context: ApiContext, routes: Sequence[Route] = ROUTES) -> web.Application:
    """The application. ValueError when a route names no permission, or two answer the same method of a path."""
    app = web.Application(middlewares=[_edge])
    app[CONTEXT] = context
    for path, rows in _by_path(routes).items():
        resource = app.router.add_resource(ANY_PART.sub(r"{\1:(?s:.\2)}", path))
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
        query.refuse_scope_headers(http.headers)
        token = query.parse_token(parameters, http.headers)
        if parameters.get("dc") not in ("", context.config().datacenter):
            raise NoPathToDatacenter
        limit = route.body_bytes_max or context.config().limits.body_bytes_max
        response = await route.handler(ApiRequest(http, context, parameters, token, limit))
        await compression.encode(http, response)
        return await in_pieces(http, response)

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
        config = request.app[CONTEXT].config()
        access.refuse_foreign_name(request.headers.get("Host", ""), _listener(request), _names(config))
        access.refuse_unprintable(request.path)
        access.refuse(config.http, request.method, request.path, request.remote or "")
        access.refuse_foreign_page(request.method, request.headers.get("Origin", ""), request.headers.get("Host", ""))
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
        log.error(
            "request failed", method=request.method, path=request.path[:PATH_SHOWN], error=str(error), exc_info=error
        )
        return _text(500, errors.INTERNAL)


def _listener(request: web.Request) -> str:
    """The address that the client reached, "" of a Unix socket or a connection that is gone."""
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return str(name[0]) if isinstance(name, tuple) and name else ""


def _names(config: AgentConfig) -> tuple[str, ...]:
    return (config.dns.domain, config.dns.alt_domain, config.node_name, *config.http.allow_hosts)


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text, headers=headers, content_type="text/plain", charset="utf-8")


async def _set_headers(http: web.Request, response: web.StreamResponse) -> None:
    headers = response.headers
    for name, value in http.app[CONTEXT].config().http.response_headers.items():
        if name.lower() not in FRAMING:
            headers[name] = value
    headers["Server"] = "chowk"
    headers["Vary"] = "Accept-Encoding"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Consul-Default-ACL-Policy"] = "allow"


async def serve(app: web.Application, host: str, port: int) -> ApiServer:
    """Serve the app on one address, begun already: for tests and tools. `agent.boot` makes an ApiServer itself."""
    server = ApiServer(app, (host,), port)
    await server.start()
    return server
