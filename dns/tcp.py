"""DNS over TCP (RFC 7766): length-prefixed, pipelined, replies in any order. Owned by the server."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from chowk.dns.limits import Via
from chowk.dns.responder import Responder

CONNECTIONS_MAX = 256
PIPELINE_MAX = 64
IDLE_TIMEOUT_S = 10.0
_LENGTH_BYTES = 2
_READ_BYTES_MAX = 65_537  # a whole message; what a client sends beyond it waits in the kernel


class TcpListener:
    """Accepts connections up to CONNECTIONS_MAX; over it, the one that was quiet longest is closed for the new one."""

    def __init__(self, sock: socket.socket, responder: Responder) -> None:
        self._sock = sock
        self._responder = responder
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, None] = {}
        self._closing = False

    async def start(self) -> None:
        """Begin to accept; again after `pause`."""
        if self._server is None and not self._closing:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Connection(self, self._responder), sock=self._sock.dup())

    def pause(self) -> None:
        """Accept no more: another process does. Who is connected is answered."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """Stop accepting and close every connection."""
        self._closing = True
        server = self._server
        self.pause()
        self._sock.close()
        closing = list(self._connections)
        for connection in closing:
            connection.abort()
        for connection in closing:
            await connection.closed
        if server is not None:
            await server.wait_closed()

    def opened(self, connection: _Connection) -> None:
        """A connection is there; called by it."""
        if self._closing:  # it was accepted just before
            connection.abort()
            return
        if len(self._connections) >= CONNECTIONS_MAX:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.abort()
        self._connections[connection] = None

    def used(self, connection: _Connection) -> None:
        """A whole query came: the connection is the least quiet one now."""
        if self._connections.pop(connection, ...) is None:
            self._connections[connection] = None

    def lost(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._connections.pop(connection, None)


class _Connection(asyncio.Protocol):
    """One client. It is not read from while PIPELINE_MAX of its queries are pending or it does not read its replies."""

    def __init__(self, listener: TcpListener, responder: Responder) -> None:
        self._listener = listener
        self._responder = responder
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._pending = 0
        self._full = False
        self._taking = False
        self._ended = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def abort(self) -> None:
        """Close at once, dropping unsent replies."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._restart_timer()
        self._listener.opened(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._listener.lost(self)
        if not self.closed.done():
            self.closed.set_result(None)

    def eof_received(self) -> bool:
        """The client sends no more, yet may wait for replies: stay half open until they are sent."""
        self._ended = True
        self._end_if_done()
        return self._transport is not None and not self._transport.is_closing()

    def pause_writing(self) -> None:
        self._full = True
        self._read_on()

    def resume_writing(self) -> None:
        self._full = False
        self._take()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._take()

    def _take(self) -> None:
        """Answer the whole messages of the buffer."""
        offset, self._taking = 0, True
        while self._pending < PIPELINE_MAX and not self._full and len(self._buffer) >= offset + _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[offset : offset + _LENGTH_BYTES], "big")
            end = offset + _LENGTH_BYTES + length
            if len(self._buffer) < end:
                break
            packet = bytes(self._buffer[offset + _LENGTH_BYTES : end])
            offset = end
            self._restart_timer()
            self._listener.used(self)
            self._pending += 1
            self._answer(packet)
        del self._buffer[:offset]
        self._taking = False
        self._read_on()
        self._end_if_done()

    def _answer(self, packet: bytes) -> None:
        reply = self._responder.ready(packet, Via.TCP)
        if reply is not None:
            self._send(reply)
        elif not self._responder.handle(packet, Via.TCP, self._send):
            self.abort()  # no query: this client speaks something else

    def _send(self, reply: bytes) -> None:
        self._pending -= 1
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(len(reply).to_bytes(_LENGTH_BYTES, "big") + reply)
        if not self._taking:
            self._take()

    def _read_on(self) -> None:
        """Read from the client or not, by how much of its work is open."""
        if self._transport is None or self._transport.is_closing():
            return
        busy = self._full or self._pending >= PIPELINE_MAX or len(self._buffer) > _READ_BYTES_MAX
        if busy and self._transport.is_reading():
            self._transport.pause_reading()
        elif not busy and not self._transport.is_reading():
            self._transport.resume_reading()

    def _end_if_done(self) -> None:
        if self._ended and self._pending == 0 and self._transport is not None:
            self._transport.close()

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(IDLE_TIMEOUT_S, self._expire)

    def _expire(self) -> None:
        self.abort()
