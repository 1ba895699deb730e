"""A listening socket that comes up as soon as its port is free, and says who holds it until then. Called by `proxy`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from chowk.connect.control import NOT_YET
from chowk.connect.proxy.link import keep_alive
from chowk.core.runtime.sockets import bind_tcp, bind_unix
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.proxy")
RETRY_S_MIN: Final = 0.05
RETRY_S_MAX: Final = 1.0
BACKLOG: Final = 4096
SOCKET_MODE: Final = 0o600


class Place(msgspec.Struct, frozen=True):
    """Where to listen: a Unix socket when `path` is given, else address and port. Equal places need no new socket."""

    address: str = ""
    port: int = 0
    path: str = ""
    mode: str = ""


class Listener:
    """`make_link` makes the protocol of each accepted connection. `error` is "" while it listens."""

    def __init__(self, place: Place, purpose: str, make_link: Callable[[], asyncio.BaseProtocol]) -> None:
        self.place = place
        self.error = NOT_YET
        self.port = 0
        self._purpose = purpose
        self._make_link = make_link
        self._server: asyncio.Server | None = None
        self._tasks = TaskOwner(f"listener:{purpose}")

    def start(self) -> None:
        """Try to listen, for as long as it takes."""
        self._tasks.spawn(self._listen(), "listen")

    async def close(self) -> None:
        """Accept no more; what was accepted is not touched."""
        await self._tasks.close()
        if self._server is not None:
            self._server.close()
            self._server = None
            if self.place.path:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.place.path)

    async def _listen(self) -> None:
        delay = RETRY_S_MIN
        while True:
            try:
                sock = self._bind()
            except (OSError, ValueError, OverflowError) as error:
                text = str(error)
                if text != self.error:
                    log.error("cannot listen; trying on", purpose=self._purpose, error=text)
                self.error = text
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_S_MAX)
                continue
            await self._serve(sock)
            return

    async def _serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(self._make_link, sock=sock, backlog=BACKLOG)
        else:
            self.port = sock.getsockname()[1]
            self._server = await loop.create_server(self._make_link, sock=sock, backlog=BACKLOG)
        self.error = ""
        log.info("listening", purpose=self._purpose, at=self.place.path or f"{self.place.address}:{self.port}")

    def _bind(self) -> socket.socket:
        place = self.place
        if place.path:
            mode = int(place.mode, 8) if place.mode else SOCKET_MODE
            if not 0 <= mode <= 0o777:
                raise ValueError(f"{self._purpose}: mode {place.mode} is no mode of a socket")
            return bind_unix(Path(place.path), mode, BACKLOG)
        sock = bind_tcp(place.address, place.port, self._purpose, BACKLOG)
        keep_alive(sock)
        return sock
