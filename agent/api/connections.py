"""Connections to the HTTP API, bounded: so many a client, and none that says nothing for long. Called by `app.serve`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final, cast

FIRST_REQUEST_S: Final = 10.0
REFUSED_S: Final = 0.5
"""How long a refused client may take to read that it was."""
_TEXT: Final = b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"
_REFUSAL: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: " + str(len(_TEXT)).encode() + b"\r\n\r\n" + _TEXT
)


class ConnectionGuard:
    """Counts open connections by client address. `limit()` is the most one address may have; 0: no limit. `head_s` is how
    long the head of a connection's first request may take to arrive.
    """

    def __init__(
        self,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        limit: Callable[[], int],
        head_s: float = FIRST_REQUEST_S,
    ) -> None:
        self.head_s = head_s
        self._make_protocol = make_protocol
        self._limit = limit
        self._open: Counter[str] = Counter()
        self._transports: set[asyncio.Transport] = set()

    def __len__(self) -> int:
        return self._open.total()

    def accept(self) -> asyncio.Protocol:
        """The protocol of one new connection, for `loop.create_server`."""
        return _Guarded(self, cast(asyncio.Protocol, self._make_protocol()))

    def enter(self, client: str, transport: asyncio.Transport) -> bool:
        """Count a connection in; False when the client has too many already."""
        limit = self._limit()
        if 0 < limit <= self._open[client]:
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

    def __init__(self, guard: ConnectionGuard, inner: asyncio.Protocol) -> None:
        self._guard = guard
        self._inner = inner
        self._client = ""
        self._transport: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._entered = False
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        peer = stream.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) and peer else "local"
        self._transport = stream
        self._entered = self._guard.enter(self._client, stream)
        if not self._entered:
            stream.write(_REFUSAL)
            stream.write_eof()  # closing at once, with its request unread, would reset what we said
            self._silence = asyncio.get_running_loop().call_later(REFUSED_S, stream.abort)
            return
        self._silence = asyncio.get_running_loop().call_later(self._guard.head_s, stream.abort)
        self._inner.connection_made(stream)

    def data_received(self, data: bytes) -> None:
        if not self._entered:
            return
        if self._silence is not None:
            seen = self._tail + data
            self._tail = seen[-3:]
            if b"\r\n\r\n" in seen or b"\n\n" in seen:
                self._silence.cancel()
                self._silence = None
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._entered else None

    def pause_writing(self) -> None:
        if self._entered:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._entered:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._silence is not None:
            self._silence.cancel()
        if self._entered and self._transport is not None:
            self._guard.leave(self._client, self._transport)
            self._inner.connection_lost(exc)
