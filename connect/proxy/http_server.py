"""The server's side of HTTP/1.1 on one connection: requests are read one after the other, each gets an exchange.

Made by the listeners with a `Handler`. Requests that come while one is answered (pipelined) wait, few of them, and are
answered in order. Slow clients are ended by `look`: a head has `http_head_s` from its first byte, a body may stand still for
`http_body_s`, an answer may wait for its reader for `http_stall_s`.
"""

from __future__ import annotations

import enum
from typing import Final, Protocol

from chowk.connect.http1.body import Span
from chowk.connect.http1.forwarding import Passage, answer
from chowk.connect.http1.heads import RequestHead, RequestReader
from chowk.connect.http1.limits import BETWEEN_PROXIES, LIMITS
from chowk.connect.http1.refusal import Refusal
from chowk.connect.proxy.http_faults import BAD_REQUEST, CLIENT_TIMEOUT, ERROR_HEADER, STALLED, Fault
from chowk.connect.proxy.http_upload import Upload
from chowk.connect.proxy.state import ProxyState
from chowk.connect.proxy.wires import TlsWire, Wire

LINGER_BYTES_MAX: Final = 4 * 1024 * 1024
"""What a client may still send after an early answer before it is cut off."""

WAITING_BYTES_MAX: Final = 16 * 1024
"""Of further requests that came while one is answered. With more, nothing is read, and that the client goes is not seen."""


class Exchange(Protocol):
    """What the connection needs of an exchange."""

    upload: Upload

    def start(self) -> None:
        """Everything that came with the head is in `upload`."""

    def uploaded(self, spans: list[Span]) -> None:
        """More of the body came."""

    def refuse(self, refusal: Refusal) -> None:
        """The body cannot be read."""

    def client_slow(self, slow: bool) -> None:
        """The client reads slowly, or has caught up."""

    def client_gone(self) -> None:
        """Nobody waits for the answer."""

    def fail(self, fault: Fault, detail: str = "") -> None:
        """End it with this."""

    def quiet(self, quiet_s: float) -> None:
        """Nothing has moved for so long, and it is not the client's turn."""


class Handler(Protocol):
    """Who serves the requests of a connection."""

    def exchange(self, connection: ServerConnection, request: RequestHead) -> Exchange:
        """What serves this request; not started yet."""

    def refused(self, connection: ServerConnection, fault: Fault, status: int, detail: str) -> None:
        """A head could not be read; for the books."""

    def closed(self, connection: ServerConnection) -> None:
        """The connection is gone, or is HTTP no longer and gone. Called once."""


class Phase(enum.Enum):
    """Of a connection."""

    OPEN = "open"
    DRAINING = "draining"
    """It ends with the answer to its current request."""
    LINGERING = "lingering"
    """All is answered; what the client still sends is read and dropped, or it would lose the answer to a reset."""
    TUNNEL = "tunnel"
    GONE = "gone"


class Pause:
    """Why nothing is read from the client. Bits; plain numbers, as each request asks for them several times."""

    PIPELINED: Final = 1
    """It has sent many further requests already."""
    HELD: Final = 2
    """There is no connection for its body yet."""
    BLOCKED: Final = 4
    """The server reads slowly."""


class ServerConnection:
    """`exchange` is the request in work. `source` is the proven caller ("" outbound), `passage` what is said of the
    connection to the next server.
    """

    def __init__(self, state: ProxyState, wire: Wire, handler: Handler, passage: Passage, source: str = "") -> None:
        self.wire = wire
        self.passage = passage
        self.source = source
        self.exchange: Exchange | None = None
        self.phase = Phase.OPEN
        self._state = state
        self._now = state.clock.now
        self._handler = handler
        self._reader = RequestReader(BETWEEN_PROXIES if isinstance(wire, TlsWire) else LIMITS)
        self._waiting = b""
        self._proceeding = False
        self._pauses = 0
        self._moved_at = self._head_at = self._now()
        self._blocked = False
        self._lingered_bytes = 0
        wire.end = self
        state.http.served[self] = None

    # --- from the wire

    def received(self, data: bytes) -> None:
        """Called by the wire."""
        if self.phase is Phase.LINGERING:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES_MAX:
                self.wire.reset()
            return
        self._moved_at = self._now()
        exchange = self.exchange
        if exchange is None:
            self._proceed(data)
        elif exchange.upload.done:
            self._hold(data)
        else:
            try:
                spans, rest = exchange.upload.feed(data)
            except Refusal as refusal:
                exchange.refuse(refusal)
                return
            if rest:
                self._hold(rest)
            exchange.uploaded(spans)

    def ended(self) -> None:
        """Called by the wire. Who sends no more has gone, as far as HTTP can tell: work for nobody is stopped."""
        exchange = self.exchange
        if exchange is not None:
            self.exchange = None
            exchange.client_gone()
        self.wire.finish()

    def lost(self) -> None:
        """Called by the wire."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        self.gone()

    def gone(self) -> None:
        """The connection is over, as HTTP or as a tunnel."""
        if self.phase is not Phase.GONE:
            self.phase = Phase.GONE
            self._state.http.served.pop(self, None)
            self._handler.closed(self)

    def writing_paused(self) -> None:
        """Called by the wire."""
        self._blocked = True
        self._moved_at = self._now()
        if self.exchange is not None:
            self.exchange.client_slow(True)

    def writing_resumed(self) -> None:
        """Called by the wire."""
        self._blocked = False
        self._moved_at = self._now()
        if self.exchange is not None:
            self.exchange.client_slow(False)
        elif self.phase in _READS:
            self._resume_requests()

    # --- from the exchange

    @property
    def blocked(self) -> bool:
        """Whether the client reads slowly."""
        return self._blocked

    @property
    def closes(self) -> bool:
        """Whether the current answer should say that it is the last."""
        return self.phase is not Phase.OPEN

    def write(self, pieces: list[Span]) -> None:
        """Send these bytes of an answer."""
        self._moved_at = self._now()
        self.wire.write(pieces)

    def moved(self) -> None:
        """Something of the current exchange moved."""
        self._moved_at = self._now()

    def pause(self, why: int) -> None:
        """Read nothing from the client, for one more reason."""
        if not self._pauses:
            self.wire.pause_reading()
        self._pauses |= why

    def resume(self, why: int) -> None:
        """That reason is no more."""
        if self._pauses & why:
            self._pauses &= ~why
            if not self._pauses:
                self.wire.resume_reading()

    def exchange_over(self, keep_alive: bool) -> None:
        """The answer is sent. Not `keep_alive`: this was the last request."""
        exchange, self.exchange = self.exchange, None
        unread = bool(self._waiting) or (exchange is not None and not exchange.upload.done)
        if not keep_alive or self.phase is not Phase.OPEN:
            self._close(unread)
            return
        self._moved_at = self._now()
        if not self._proceeding:
            self._resume_requests()

    def cut(self) -> None:
        """An answer ends in its middle: the client must not take it for a whole one."""
        self.exchange = None
        self.wire.reset()

    def take_over(self) -> bytes:
        """The connection becomes a tunnel; what the client has sent for it already."""
        self.phase = Phase.TUNNEL
        self.exchange = None
        self.wire.end = None
        self._state.http.served.pop(self, None)
        waiting, self._waiting = self._waiting, b""
        return waiting

    # --- requests

    def _resume_requests(self) -> None:
        if self._blocked:
            return  # who does not take its answers gets no more of them, or they would pile up
        waiting, self._waiting = self._waiting, b""
        self.resume(Pause.PIPELINED | Pause.HELD | Pause.BLOCKED)
        if waiting:
            self._proceed(waiting)

    def _proceed(self, data: bytes) -> None:
        """Begin the requests in `data` one after the other, as far as they are answered at once."""
        self._proceeding = True
        try:
            while data and self.phase in _READS:
                if self._blocked:
                    self._hold(data)
                    return
                found = self._reader.feed(data)
                if found is None:
                    self._head_at = self._head_at if self._reader.pending > len(data) else self._moved_at
                    return
                request, data = found
                exchange = self.exchange = self._handler.exchange(self, request)
                if data and not exchange.upload.done:
                    spans, data = exchange.upload.feed(data)
                    exchange.upload.keep(spans)
                exchange.start()
                if self.exchange is not None:
                    if data:
                        self._hold(data)
                    return
        except Refusal as refusal:
            self._refuse(refusal)
        finally:
            self._proceeding = False

    def _hold(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) > WAITING_BYTES_MAX:
            self.pause(Pause.PIPELINED)

    def _refuse(self, refusal: Refusal) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.refuse(refusal)
        else:
            self._refuse_head(BAD_REQUEST, refusal.status, refusal.reason)

    def _refuse_head(self, fault: Fault, status: int, reason: str) -> None:
        self._handler.refused(self, fault, status, reason)
        text = f"chowk: {fault.name}: {reason}\n".encode()
        self.wire.write([answer(None, status, text, {ERROR_HEADER: fault.name}).head])
        self._close(unread=True)

    # --- the end

    def drain(self) -> None:
        """Take one more request at most. Whoever has just used the connection may be about to send it, and would find it
        closed: so it ends with that answer, or when it is quiet.
        """
        if self.phase is Phase.OPEN:
            self.phase = Phase.DRAINING
            self.look(self._now())

    def stop(self) -> None:
        """End now."""
        self.wire.reset()

    def look(self, now: float) -> None:
        """End what takes too long."""
        settings, quiet_s = self._state.settings, now - self._moved_at
        exchange = self.exchange
        if self.phase is Phase.LINGERING:
            if self.wire.unsent:
                if quiet_s >= settings.http_stall_s:
                    self.wire.reset()
            elif quiet_s >= settings.http_linger_s:
                self.wire.close()  # no reset: the kernel may still hold the end of the answer
        elif exchange is None:
            if self._blocked:
                if quiet_s >= settings.http_stall_s:
                    self.wire.reset()
            elif self._reader.pending:
                if now - self._head_at >= settings.http_head_s:
                    self._refuse_head(CLIENT_TIMEOUT, 408, "the head of the request did not come in time")
            elif quiet_s >= (settings.http_drain_quiet_s if self.phase is Phase.DRAINING else settings.idle_timeout_s):
                self._close(unread=False)
        elif self._blocked:
            if quiet_s >= settings.http_stall_s:
                exchange.fail(CLIENT_TIMEOUT, "the client did not take its answer")
        elif not exchange.upload.done and not self._pauses:
            if quiet_s >= settings.http_body_s:
                exchange.fail(CLIENT_TIMEOUT, "the body of the request stood still")
        elif self._pauses & Pause.BLOCKED:
            if quiet_s >= settings.http_stall_s:  # that a client has gone is not seen while nothing is read from it
                exchange.fail(STALLED, "the server did not take the request")
        else:
            exchange.quiet(quiet_s)

    def _close(self, unread: bool) -> None:
        self.phase = Phase.LINGERING
        self._waiting = b""
        if not unread:
            self.wire.finish()
            return
        self._moved_at = self._now()
        self.wire.end_sending()
        self.resume(Pause.PIPELINED | Pause.HELD | Pause.BLOCKED)


_READS: Final = (Phase.OPEN, Phase.DRAINING)


def address_of(wire: Wire) -> str:
    """The client's address, "" on a Unix socket."""
    name = wire.transport.get_extra_info("peername") if wire.transport is not None else None
    return name[0] if isinstance(name, tuple) else ""
