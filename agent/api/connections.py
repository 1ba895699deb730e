"""Connections to the HTTP API, bounded: so many a client, and none that says nothing for long. Called by `serve`.

A connection belongs to its `Shortcut` for as long as that answers all that comes; from the first request that it does not
take on it is aiohttp's, so that the two never share the order of answers, or a timer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from chowk.core.runtime.tasks import TaskOwner

CONNECTIONS_MAX: Final = 16_384
FIRST_REQUEST_S: Final = 10.0
KEEPALIVE_S: Final = 120.0
"""How long a connection may say nothing after an answer."""
REFUSED_S: Final = 0.5
"""How long a refused client may take to read that it was."""
_TEXT: Final = b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"
_REFUSAL: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: " + str(len(_TEXT)).encode() + b"\r\n\r\n" + _TEXT
)


Shortcut = Callable[[bytes], Coroutine[Any, Any, bytes] | None]
"""Given the bytes that came: what makes the bytes of the answer to that one whole request, or None: it is not for it."""


class ConnectionGuard:
    """Counts open connections by client address. `limit()` is the most one address may have (0: no limit), `total` the
    most that all together may. `head_s` is how long the head of a connection's first request may take to arrive.
    """

    def __init__(
        self,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        limit: Callable[[], int],
        *,
        total: int = CONNECTIONS_MAX,
        head_s: float = FIRST_REQUEST_S,
        shortcut: Shortcut | None = None,
    ) -> None:
        self.make_protocol = make_protocol
        self.head_s = head_s
        self.shortcut = shortcut
        self.tasks = TaskOwner("http")
        self._total = total
        self._limit = limit
        self._open: Counter[str] = Counter()
        self._transports: set[asyncio.Transport] = set()

    def __len__(self) -> int:
        return len(self._transports)

    def accept(self) -> asyncio.Protocol:
        """The protocol of one new connection, for `loop.create_server`."""
        return _Guarded(self)

    def enter(self, client: str, transport: asyncio.Transport) -> bool:
        """Count a connection in; False when there are too many already, of this client or of all."""
        if 0 < self._limit() <= self._open[client] or len(self._transports) >= self._total:
            return False
        self._open[client] += 1
        self._transports.add(transport)
        return True

    def leave(self, client: str, transport: asyncio.Transport) -> None:
        """Count a connection out."""
        self._transports.discard(transport)
        self._open[client] -= 1
        if self._open[client] <= 0:
            del self._open[client]

    async def drain(self, timeout_s: float) -> None:
        """Answer nothing more by the shortcut; what it answers now may end, for `timeout_s`."""
        self.shortcut = None
        await self.tasks.wait(timeout_s)
        await self.tasks.close()

    def abort(self) -> None:
        """Drop every connection at once."""
        for transport in list(self._transports):
            transport.abort()


class _Guarded(asyncio.Protocol):
    """Stands before aiohttp's protocol, which is made when there is something for it."""

    def __init__(self, guard: ConnectionGuard) -> None:
        self._guard = guard
        self._inner: asyncio.Protocol | None = None
        self._client = ""
        self._transport: asyncio.Transport | None = None
        self._refused = False
        self._silence: asyncio.TimerHandle | None = None
        self._tail = b""
        self._answering: asyncio.Task[None] | None = None
        self._early = b""
        self._answered_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        peer = stream.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) and peer else "local"
        self._transport = stream
        loop = asyncio.get_running_loop()
        if not self._guard.enter(self._client, stream):
            self._refused = True
            stream.write(_REFUSAL)
            stream.write_eof()  # closing at once, with its request unread, would reset what we said
            self._silence = loop.call_later(REFUSED_S, stream.abort)
            return
        self._silence = loop.call_later(self._guard.head_s, stream.abort)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None and self._silence is None:
            self._inner.data_received(data)
        elif not self._refused:
            self._take(data)

    def _take(self, data: bytes) -> None:
        if self._answering is not None:
            self._wait(data)
            return
        shortcut = self._guard.shortcut
        answer = shortcut(data) if shortcut is not None and self._inner is None else None
        if answer is None:
            self._pass_on(data)
        else:
            if not self._answered_s:
                self._end_silence()
            self._answering = self._guard.tasks.spawn(self._write(answer), "answer")

    def _pass_on(self, data: bytes) -> None:
        """From now on the connection is aiohttp's."""
        if self._inner is None:
            if self._answered_s:
                self._end_silence()  # it had its first request
            self._inner = cast(asyncio.Protocol, self._guard.make_protocol())
            self._inner.connection_made(cast(asyncio.Transport, self._transport))
        if self._silence is not None:
            seen = self._tail + data
            self._tail = seen[-3:]
            if b"\r\n\r\n" in seen or b"\n\n" in seen:
                self._end_silence()
        self._inner.data_received(data)

    def _end_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    # --- the shortcut

    async def _write(self, answer: Coroutine[Any, Any, bytes]) -> None:
        transport = cast(asyncio.Transport, self._transport)
        transport.write(await answer)
        self._answering = None
        loop = asyncio.get_running_loop()
        self._answered_s = loop.time()
        if self._silence is None:
            self._silence = loop.call_later(KEEPALIVE_S, self._look)
        if self._early:
            early, self._early = self._early, b""
            transport.resume_reading()
            self._take(early)

    def _wait(self, data: bytes) -> None:
        """It came before the answer to what came before it: no more than that is read."""
        if not self._early:
            cast(asyncio.Transport, self._transport).pause_reading()
        self._early += data

    def _look(self) -> None:
        """Close the connection when it has said nothing for KEEPALIVE_S; look again when it may have."""
        loop = asyncio.get_running_loop()
        left_s = KEEPALIVE_S if self._answering is not None else self._answered_s + KEEPALIVE_S - loop.time()
        if left_s > 0:
            self._silence = loop.call_later(left_s, self._look)
        else:
            cast(asyncio.Transport, self._transport).close()

    # --- the rest of a protocol

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_silence()
        if self._answering is not None:
            self._answering.cancel()
        if not self._refused and self._transport is not None:
            self._guard.leave(self._client, self._transport)
        if self._inner is not None:
            self._inner.connection_lost(exc)
