"""Connections to the HTTP API, bounded: so many a client, and none that says nothing for long. Called by `app.serve`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final, cast

CONNECTIONS_MAX: Final = 16_384
FIRST_REQUEST_S: Final = 10.0
REFUSED_S: Final = 0.5
"""How long a refused client may take to read that it was."""
_TEXT: Final = b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"
_REFUSAL: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: " + str(len(_TEXT)).encode() + b"\r\n\r\n" + _TEXT
)


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
    ) -> None:
        self.make_protocol = make_protocol
        self.head_s = head_s
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

    def abort(self) -> None:
        """Drop every connection at once."""
        for transport in list(self._transports):
            transport.abort()


class _Guarded(asyncio.Protocol):
    """Stands before aiohttp's protocol and passes everything on, once the connection was let in."""

    def __init__(self, guard: ConnectionGuard) -> None:
        self._guard = guard
        self._inner: asyncio.Protocol | None = None
        self._client = ""
        self._transport: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        peer = stream.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) and peer else "local"
        self._transport = stream
        if not self._guard.enter(self._client, stream):
            stream.write(_REFUSAL)
            stream.write_eof()  # closing at once, with its request unread, would reset what we said
            self._silence = asyncio.get_running_loop().call_later(REFUSED_S, stream.abort)
            return
        self._silence = asyncio.get_running_loop().call_later(self._guard.head_s, stream.abort)
        self._inner = cast(asyncio.Protocol, self._guard.make_protocol())
        self._inner.connection_made(stream)

    def data_received(self, data: bytes) -> None:
        if self._inner is None:
            return
        if self._silence is not None:
            seen = self._tail + data
            self._tail = seen[-3:]
            if b"\r\n\r\n" in seen or b"\n\n" in seen:
                self._silence.cancel()
                self._silence = None
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._silence is not None:
            self._silence.cancel()
        if self._inner is not None and self._transport is not None:
            self._guard.leave(self._client, self._transport)
            self._inner.connection_lost(exc)
