"""RPC over a Unix socket: the listening and the dialling end. `tcp` has those for other hosts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import structlog

from chowk.core import errors
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.endpoints import Endpoints
from chowk.core.runtime.sockets import bind_unix

log = structlog.get_logger("chowk.rpc")


class RpcListener:
    """Serves `endpoints` on a Unix socket that only this user may open."""

    def __init__(self, path: Path, endpoints: Endpoints) -> None:
        self._path = path
        self._endpoints = endpoints
        self._server: asyncio.Server | None = None
        self.connections: set[RpcConnection] = set()

    async def start(self) -> None:
        """Bind and listen. OSError when another process listens there."""
        sock = bind_unix(self._path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, sock=sock)

    def _accept(self) -> RpcConnection:
        connection = RpcConnection(self._endpoints, self.connections.discard)
        self.connections.add(connection)
        return connection

    async def close(self) -> None:
        """Stop listening, end every connection, remove the socket's file."""
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                await connection.close()
            self._path.unlink(missing_ok=True)
            self._server = None


async def dial_unix(path: Path, endpoints: Endpoints | None = None) -> RpcConnection:
    """Connect. Unavailable when nobody listens; PermissionDenied when the listener runs as another, unprivileged user."""
    loop = asyncio.get_running_loop()
    try:
        _transport, connection = await loop.create_unix_connection(
            lambda: RpcConnection(endpoints or Endpoints()), str(path)
        )
    except OSError as error:
        raise errors.Unavailable(f"nobody listens on {path}: {error.strerror or error}") from error
    if connection.peer.uid not in (0, os.getuid(), None):
        await connection.close()
        raise errors.PermissionDenied(f"{path} is served by user {connection.peer.uid}, not by us or root")
    return connection
