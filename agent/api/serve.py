"""The HTTP API on its ports. Made by `agent.boot`, around the application that `app.make_app` builds."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from aiohttp import web

from chowk.agent.api.connections import CONNECTIONS_MAX, KEEPALIVE_S, ConnectionGuard, Shortcut
from chowk.agent.api.context import CONTEXT
from chowk.agent.api.protocol import ApiProtocol
from chowk.agent.api.quick_gets import QuickGets
from chowk.agent.api.quick_puts import QuickPuts
from chowk.agent.api.secure import bind_sockets, close_sockets, load_certificate, remove_paths, tls_context
from chowk.core.runtime.loop_lag import LoopLag
from chowk.core.runtime.sockets import bind_tcp

CLOSE_S: Final = 0.5
"""How long requests under way may take to end when the server closes; blocking ones are then cut off."""


_log = logging.getLogger("chowk.http.protocol")


def _connections_max() -> int:
    """Three quarters of the files this process may open: accepting never takes the last one from a health check or a log."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if soft == resource.RLIM_INFINITY else min(CONNECTIONS_MAX, max(1, soft * 3 // 4))


class ApiServer:
    """`app` on `port` of each address of `hosts`, and on the Unix sockets and the HTTPS port of the configuration.

    Port 0 asks the kernel for a free one (of one host). A negative `port` is no TCP port.
    """

    def __init__(self, app: web.Application, hosts: Sequence[str], port: int) -> None:
        context = app[CONTEXT]
        limit = context.config().http.max_header_bytes
        self._hosts = tuple(hosts)
        self._port = port
        self._servers: list[asyncio.Server] = []
        self._plain: list[socket.socket] = []
        self._secure: list[socket.socket] = []
        self._unix: list[socket.socket] = []
        self._tls: ssl.SSLContext | None = None
        self._guard: ConnectionGuard | None = None
        self._context = context
        puts, gets = QuickPuts(context).take, QuickGets(context).take
        self._shortcut: Shortcut = lambda data: gets(data) if data.startswith(b"GET") else puts(data)
        self._forget: Callable[[], None] = lambda: None
        self._lag = LoopLag()
        context.lag = self._lag.tally
        self._limit = lambda: context.config().limits.http_max_conns_per_client
        self._options: dict[str, Any] = {
            "access_log": None,
            "logger": _log,
            "auto_decompress": False,
            "keepalive_timeout": KEEPALIVE_S,
            "max_line_size": limit,
            "max_field_size": limit,
        }
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=CLOSE_S, **self._options)

    @property
    def port(self) -> int:
        """The TCP port, also when 0 was asked for."""
        return int(self._plain[0].getsockname()[1]) if self._plain else self._port

    @property
    def https_port(self) -> int:
        """The port of HTTPS, also when 0 was asked for; -1 when there is none."""
        return int(self._secure[0].getsockname()[1]) if self._secure else -1

    @property
    def connections_open(self) -> int:
        """Connections that clients have open now."""
        return len(self._guard) if self._guard is not None else 0

    async def start(self) -> None:
        """Bind and listen. PortTaken says who holds the port, BadCertificate what is wrong with a file; then nothing stays
        open."""
        try:
            self._bind()
            await self._runner.setup()
            if self._runner.server is None:
                raise RuntimeError("the application did not start")
            loop = asyncio.get_running_loop()
            make = partial(ApiProtocol, self._runner.server, loop=loop, **self._options)
            self._guard = ConnectionGuard(make, self._limit, total=_connections_max(), shortcut=self._shortcut)
            await self._listen(self._guard.accept)
            self._lag.start()
            self._forget = self._context.client.on_connect(self._context.known.clear)
        except BaseException:
            self._close_sockets()
            await self._runner.cleanup()
            raise

    def _bind(self) -> None:
        config = self._context.config()
        if self._port >= 0:
            for host in self._hosts:
                self._plain.append(bind_tcp(host, self._port, "HTTP API"))
            self._unix = bind_sockets(config.addresses.http_sockets, config.unix_sockets)
        if config.ports.https >= 0 and config.https.cert_file:
            self._tls = tls_context(config.https)
            for host in config.addresses.https:
                self._secure.append(bind_tcp(host, config.ports.https, "HTTPS API"))

    async def _listen(self, accept: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._plain:
            self._servers.append(await loop.create_server(accept, sock=sock))
        for sock in self._unix:
            self._servers.append(await loop.create_unix_server(accept, sock=sock))
        timeout_s = self._context.config().https.handshake_timeout_s or None
        for sock in self._secure:
            server = await loop.create_server(accept, sock=sock, ssl=self._tls, ssl_handshake_timeout=timeout_s)
            self._servers.append(server)

    def reload(self) -> None:
        """Read the certificate of HTTPS again. BadCertificate, and then the old one stays."""
        if self._tls is not None:
            load_certificate(self._tls, self._context.config().https)

    def _close_sockets(self) -> None:
        for sock in (*self._plain, *self._secure):
            sock.close()
        close_sockets(self._unix)

    async def close(self) -> None:
        """Stop listening; requests under way get CLOSE_S to end."""
        self._lag.close()
        self._forget()
        remove_paths(self._unix)
        for server in self._servers:
            server.close()
        if self._guard is not None:
            await self._guard.drain(CLOSE_S)
        await self._runner.cleanup()
        await self._context.shared.close(CLOSE_S)
        if self._guard is not None:
            self._guard.abort()
