"""The agent's end of the launcher's socket. Called by `agent.proxies`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from chowk.connect.proxy.launcher_protocol import (
    LAUNCH,
    LINE_BYTES_MAX,
    LIST,
    SHUTDOWN,
    STOP,
    Line,
    Running,
    cut,
    encode,
)
from chowk.core.errors import DeadlineExceeded, InternalError, Unavailable
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.launcher")
REPLY_TIMEOUT_S: Final = 5.0
ExitCallback = Callable[[str, int, int], None]


class LauncherClient:
    """Made by `connect`. `on_exit(proxy_id, pid, status)` is called for each proxy that exits; negative is a signal."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_exit: ExitCallback | None
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_exit = on_exit
        self._next = 0
        self._replies: dict[int, asyncio.Future[Line]] = {}
        self._gone = asyncio.Event()
        self._tasks = TaskOwner("launcher-client")

    @classmethod
    async def connect(cls, path: Path, on_exit: ExitCallback | None = None) -> LauncherClient:
        """Connect to the launcher that listens on `path`. Unavailable when none does."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(path))
        except OSError as error:
            raise Unavailable(f"no launcher listens on {path}: {error.strerror or error}") from error
        client = cls(reader, writer, on_exit)
        client._tasks.spawn(client._receive(), "receive")
        return client

    @property
    def closed(self) -> bool:
        """True once the launcher has gone or `close` was called."""
        return self._gone.is_set()

    async def wait_closed(self) -> None:
        """Return when the launcher is gone."""
        await self._gone.wait()

    async def launch(self, proxy_id: str) -> int:
        """Fork a proxy; its pid. When it runs already, the pid of that one. ChowkError."""
        return (await self._call(LAUNCH, proxy_id)).pid

    async def stop(self, proxy_id: str) -> None:
        """SIGTERM to a proxy, SIGKILL if it does not drain in time. `on_exit` tells when it is gone. ChowkError."""
        await self._call(STOP, proxy_id)

    async def list(self) -> tuple[Running, ...]:
        """The proxies that run and were not told to stop. ChowkError."""
        return (await self._call(LIST, "")).proxies

    async def shutdown(self) -> None:
        """Stop every proxy and the launcher; returns when all have gone (give it a timeout). ChowkError."""
        with contextlib.suppress(Unavailable):
            await self._call(SHUTDOWN, "")
        await self._gone.wait()

    async def close(self) -> None:
        """Let go; launcher and proxies live on. Safe to call twice."""
        self._gone.set()
        self._writer.close()
        await self._tasks.close()
        self._fail("closed")

    async def _call(self, op: str, proxy_id: str) -> Line:
        if self.closed:
            raise Unavailable("the proxy launcher is gone")
        self._next += 1
        number = self._next
        future = self._replies[number] = asyncio.get_running_loop().create_future()
        self._writer.write(encode(Line(id=number, op=op, proxy_id=proxy_id)))
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                reply: Line = await future
        except TimeoutError:
            raise DeadlineExceeded(f"the proxy launcher does not answer in {REPLY_TIMEOUT_S:g}s") from None
        finally:
            self._replies.pop(number, None)
        if reply.error:
            raise InternalError(f"proxy launcher: {reply.error}")
        return reply

    async def _receive(self) -> None:
        buffer = bytearray()
        try:
            while data := await self._reader.read(65536):
                buffer += data
                for line in cut(buffer):
                    self._take(line)
                if len(buffer) > LINE_BYTES_MAX:
                    raise ValueError("a line over the limit")
        except (OSError, ValueError) as error:
            log.warning("proxy launcher lost", error=str(error))
        finally:
            self._gone.set()
            self._writer.close()
            self._fail("the proxy launcher is gone")

    def _take(self, line: Line) -> None:
        if line.event == "exit":
            if self._on_exit is not None:
                self._on_exit(line.proxy_id, line.pid, line.status)
            return
        future = self._replies.get(line.id)
        if future is not None and not future.done():
            future.set_result(line)

    def _fail(self, reason: str) -> None:
        for future in self._replies.values():
            if not future.done():
                future.set_exception(Unavailable(reason))
