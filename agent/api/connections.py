"""Connections to the HTTP API, bounded: so many a client, none that says nothing for long, and none that takes an answer
byte by byte. Called by `serve`.

A connection belongs to its `Shortcut` for as long as that answers all that comes; from the first request that it does not
take on it is aiohttp's, so that the two never share the order of answers, or a timer.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from chowk.agent.api.deadlines import Deadlines
from chowk.core.runtime.tasks import TaskOwner

CONNECTIONS_MAX: Final = 16_384
FIRST_REQUEST_S: Final = 10.0
KEEPALIVE_S: Final = 120.0
"""How long a connection may say nothing after an answer."""
QUIET_STEP_S: Final = 1.0
REFUSED_S: Final = 0.5
"""How long a refused client may take to read that it was."""
UNREAD_BYTES: Final = 16 * 1024
"""Of an answer, kept for a client that does not read; what there is more of is not made before it reads."""
UNSENT_BYTES: Final = 64 * 1024
"""Of an answer, kept by the kernel beyond what is on its way: it would take megabytes for each client that does not read."""
SLOW_READER_S: Final = 30.0
"""In this time a client takes SLOW_READER_BYTES of what waits for it, or all that is left; or it is dropped."""
SLOW_READER_BYTES: Final = 32 * 1024
CROWD: Final = 256
"""When more clients than this do not read what waits for them, one that takes nothing at all in CROWD_S is dropped."""
CROWD_S: Final = 3.0
EARLY_BYTES_MAX: Final = 64 * 1024
"""Of requests that came before the answer to the one before: more is not read."""
_TEXT: Final = b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"
_REFUSAL: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: " + str(len(_TEXT)).encode() + b"\r\n\r\n" + _TEXT
)


Out = Sequence[bytes]
"""The bytes of an answer, in one piece or more."""
Write = Callable[[asyncio.Future[Any]], Out | Coroutine[Any, Any, Out]]
_CONTEXT: Final = contextvars.copy_context()
"""One for all callbacks: of its own each would have a copy."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An answer to come: `write` makes its bytes, or what will make them, once `future` is done. It is cancelled when the
    client is gone."""

    future: asyncio.Future[Any]
    write: Write


Shortcut = Callable[[bytes], Coroutine[Any, Any, bytes] | Waiting | None]
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
        slow_s: float = SLOW_READER_S,
        crowd: int = CROWD,
        shortcut: Shortcut | None = None,
    ) -> None:
        self.make_protocol = make_protocol
        self.head_s = head_s
        self.slow_s = slow_s
        self.crowd = crowd
        self.shortcut = shortcut
        self.tasks = TaskOwner("http")
        self.quiet: Deadlines[_Guarded, None] = Deadlines(QUIET_STEP_S, lambda connection, _: connection.look())
        self._total = total
        self._limit = limit
        self.unread = 0
        """Clients for whom something waits that they have not read."""
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

    __slots__ = (
        "_answered_s", "_answering", "_client", "_deaf", "_early", "_full", "_guard", "_inner", "_reading", "_refused",
        "_silence", "_slot", "_slow_s", "_tail", "_transport", "_unread", "_unread_then", "_write_answer",
    )  # fmt: skip

    def __init__(self, guard: ConnectionGuard) -> None:
        self._guard = guard
        self._inner: asyncio.Protocol | None = None
        self._client = ""
        self._transport: asyncio.Transport | None = None
        self._refused = False
        self._silence: asyncio.TimerHandle | None = None
        self._tail = b""
        self._answering: asyncio.Future[Any] | None = None
        self._write_answer: Write = _no_answer
        self._slot = 0
        self._early = b""
        self._deaf = False
        self._full = False
        self._unread = 0
        self._unread_then = 0
        self._slow_s = 0.0
        self._reading: asyncio.TimerHandle | None = None
        self._answered_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        peer = stream.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) and peer else "local"
        self._transport = stream
        stream.set_write_buffer_limits(high=UNREAD_BYTES)
        sock = stream.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        loop = asyncio.get_running_loop()
        if not self._guard.enter(self._client, stream):
            self._refused = True
            stream.write(_REFUSAL)
            if stream.can_write_eof():  # over TLS it cannot
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
        if self._answering is not None or (self._full and self._inner is None):
            self._wait(data)
            return
        shortcut = self._guard.shortcut
        answer = shortcut(data) if shortcut is not None and self._inner is None else None
        if answer is None:
            self._pass_on(data)
        else:
            if not self._answered_s:
                self._end_silence()
            if isinstance(answer, Waiting):
                self._answering = answer.future
                self._write_answer = answer.write
                answer.future.add_done_callback(self._answered, context=_CONTEXT)
            else:
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
        if self._slot:
            self._guard.quiet.remove(self, self._slot)
            self._slot = 0

    # --- the shortcut

    def _answered(self, future: asyncio.Future[Any]) -> None:
        transport = cast(asyncio.Transport, self._transport)
        if future.cancelled():
            transport.close()  # the client is gone, or we are going
            return
        out = self._write_answer(future)
        if isinstance(out, Coroutine):
            if self._guard.shortcut is None:
                out.close()
                transport.close()
                return
            self._answering = self._guard.tasks.spawn(self._write(out), "answer")
        else:
            self._send(out)

    async def _write(self, answer: Coroutine[Any, Any, bytes | Out]) -> None:
        out = await answer
        self._send((out,) if isinstance(out, bytes) else out)

    def _send(self, out: Out) -> None:
        transport = cast(asyncio.Transport, self._transport)
        self._answering = None
        if transport.is_closing():
            return
        if len(out) == 1:
            transport.write(out[0])
        else:
            transport.writelines(out)
        self._answered_s = asyncio.get_running_loop().time()
        if not self._slot:
            self._slot = self._guard.quiet.add(self, None, KEEPALIVE_S)
        if self._reading is None and transport.get_write_buffer_size():
            self._expect_reading()
        self._take_early()

    def _take_early(self) -> None:
        if self._early and not self._full and self._answering is None:
            early, self._early = self._early, b""
            if self._deaf:
                self._deaf = False
                cast(asyncio.Transport, self._transport).resume_reading()
            self._take(early)

    def _wait(self, data: bytes) -> None:
        """It came before the answer to what came before it. Reading goes on, to a limit, for the client may go away."""
        self._early += data
        if len(self._early) > EARLY_BYTES_MAX and not self._deaf:
            self._deaf = True
            cast(asyncio.Transport, self._transport).pause_reading()

    def look(self) -> None:
        """Close the connection when it has said nothing for KEEPALIVE_S; look again when it may have."""
        self._slot = 0
        quiet_s = asyncio.get_running_loop().time() - self._answered_s
        left_s = KEEPALIVE_S if self._answering is not None else KEEPALIVE_S - quiet_s
        if left_s > 0:
            self._slot = self._guard.quiet.add(self, None, left_s)
        else:
            cast(asyncio.Transport, self._transport).close()

    # --- slow readers

    def _expect_reading(self) -> None:
        """From now on the client has `slow_s` to take some of what waits for it."""
        self._unread = self._unread_then = cast(asyncio.Transport, self._transport).get_write_buffer_size()
        self._slow_s = 0.0
        self._guard.unread += 1
        self._look_later()

    def _look_later(self) -> None:
        step_s = min(CROWD_S, self._guard.slow_s)
        self._slow_s += step_s
        self._reading = asyncio.get_running_loop().call_later(step_s, self._look_unread)

    def _look_unread(self) -> None:
        transport, guard = cast(asyncio.Transport, self._transport), self._guard
        unread, before = transport.get_write_buffer_size(), self._unread_then
        self._unread_then = unread
        is_over = self._slow_s >= guard.slow_s
        is_slow = unread > max(0, self._unread - SLOW_READER_BYTES)
        if (is_over and is_slow) or (unread >= before and guard.unread > guard.crowd):
            transport.abort()
        elif not is_over and unread:
            self._look_later()
        else:
            self._end_reading()
            if unread:
                self._expect_reading()

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
            self._guard.unread -= 1

    # --- the rest of a protocol

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        self._full = True
        if self._reading is None:
            self._expect_reading()
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        self._end_reading()
        if self._inner is not None:
            self._inner.resume_writing()
        else:
            self._take_early()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_silence()
        self._end_reading()
        if self._answering is not None:
            self._answering.cancel()
        if not self._refused and self._transport is not None:
            self._guard.leave(self._client, self._transport)
        if self._inner is not None:
            self._inner.connection_lost(exc)


def _no_answer(_future: asyncio.Future[Any]) -> Out:
    return ()
