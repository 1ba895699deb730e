"""One request on its way: what inbound and outbound exchanges have in common. Bytes stream both ways, nothing is collected.

`Relay` joins a `ServerConnection` (the client's) with a `ClientConnection` (the server's), one that reads slowly holds the
other back. Where it goes, whether it may and what is tried again is for the subclasses. An answer that has begun is never
begun again: what goes wrong then is shown to the client as a cut.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Final

from chowk.connect.http1.body import BodyWriter, Span, writer
from chowk.connect.http1.forwarding import OutgoingResponse, answer, response_to_client
from chowk.connect.http1.heads import RequestHead, ResponseHead
from chowk.connect.http1.identity import request_id
from chowk.connect.http1.refusal import Refusal
from chowk.connect.proxy.http_client import ClientConnection
from chowk.connect.proxy.http_faults import (
    BAD_REQUEST,
    BAD_RESPONSE,
    CLIENT_GONE,
    ERROR_HEADER,
    REQUEST_TIMEOUT,
    STALLED,
    Fault,
)
from chowk.connect.proxy.http_server import Pause, ServerConnection
from chowk.connect.proxy.http_upload import Upload, upload_of
from chowk.connect.proxy.links import Pipe, PlainLink, TlsLink
from chowk.connect.proxy.state import ProxyState
from chowk.connect.proxy.tally import Tally
from chowk.connect.stats.edges import Edge

IDEMPOTENT: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
"""RFC 9110 section 9.2.2: doing these twice is as good as once."""


class Relay(ABC):
    """`status` is what the client got (0: nothing), `reason` the name of the proxy's own error. `cut`: the answer had begun
    and did not come to its end, so it is no success whatever its status says.
    """

    def __init__(self, state: ProxyState, server: ServerConnection, request: RequestHead) -> None:
        self.state = state
        self.server = server
        self.request = request
        self.upload: Upload = upload_of(request.framing)
        self.began = self.tried_at = state.clock.now()
        self.status = 0
        self.reason = ""
        self.detail = ""
        self.sent_bytes = 0
        self.request_id = b""
        self.connection: ClientConnection | None = None
        self.committed = False
        """A byte of an answer went to the client."""
        self.cut = False
        self.over = False
        self._writer: BodyWriter | None = None
        self._keep_alive = False
        self._timer: asyncio.TimerHandle | None = None

    # --- for the subclasses

    @abstractmethod
    def start(self) -> None:
        """Everything that came with the head is in `upload`."""

    @abstractmethod
    def outgoing(self) -> bytes:
        """The request's head as it goes to the server."""

    @abstractmethod
    def broken(self, fault: Fault, detail: str) -> None:
        """Called by the connection, which is gone: there will be no more of an answer."""

    @abstractmethod
    def withdrawn(self) -> None:
        """The exchange is over: it waits for nothing any more."""

    @abstractmethod
    def ended(self, duration_s: float) -> None:
        """For the books, once."""

    def back(self, response: ResponseHead) -> OutgoingResponse:
        """The answer's head as it goes to the client. Refusal 502."""
        return response_to_client(response, self.request, close=self.server.closes)

    def wanted(self, response: ResponseHead, done: bool) -> bool:  # noqa: ARG002
        """Whether this answer goes to the client; if not, the subclass has ended the call and goes on otherwise."""
        return True

    def count(self, edge: Edge, duration_s: float) -> None:
        """The exchange is over, and was this edge's."""
        edge.done(0 if self.cut else self.status, duration_s, self.reason)

    def own_headers(self) -> dict[str, str]:
        """Headers of answers that the proxy makes itself."""
        return {}

    def make_id(self) -> bytes:
        """A request id for a request that has none."""
        return request_id(self.state.rng.getrandbits(128))

    def set_timer(self, timeout_s: float) -> None:
        """End the exchange when all of it takes longer (0: never)."""
        if timeout_s > 0:
            self._timer = asyncio.get_running_loop().call_later(timeout_s, self.fail, REQUEST_TIMEOUT)

    # --- the request

    def connected(self, connection: ClientConnection) -> None:
        """Called by the pool: the request goes."""
        self.connection = connection
        self.tried_at = self.state.clock.now()
        connection.call(self, self.request.method, [self.outgoing(), *self.upload.replayed()])
        self.server.resume(Pause.HELD)
        if self.server.blocked:
            connection.wire.pause_reading()

    def uploaded(self, spans: list[Span]) -> None:
        """Called by the server connection: more of the body."""
        connection = self.connection
        if connection is not None:
            pieces = self.upload.passed(spans)
            if pieces:
                connection.wire.write(pieces)
            return
        self.upload.keep(spans)
        if self.upload.full and not self.upload.done:
            self.server.pause(Pause.HELD)

    def refuse(self, refusal: Refusal) -> None:
        """Called by the server connection: the body cannot be read."""
        self.fail(Fault(BAD_REQUEST.name, refusal.status, refusal.reason))

    def upload_slow(self, slow: bool) -> None:
        """Called by the connection: the server reads slowly, or has caught up."""
        if slow:
            self.server.pause(Pause.BLOCKED)
        else:
            self.server.resume(Pause.BLOCKED)

    # --- the answer

    def interim(self, response: ResponseHead) -> None:
        """Called by the connection."""
        out = response_to_client(response, self.request)
        if out.head:
            self.committed = True
            self.server.write([out.head])

    def answered(self, response: ResponseHead, spans: list[Span], done: bool) -> None:
        """Called by the connection: the answer begins."""
        if not self.wanted(response, done):
            return
        out = self.back(response)
        self.status = response.status
        self.committed = True
        self._keep_alive = out.keep_alive
        self._writer = writer(out.framing)
        self._send([out.head], spans, done)

    def content(self, spans: list[Span], done: bool) -> None:
        """Called by the connection: the answer goes on."""
        self._send([], spans, done)

    def _send(self, pieces: list[Span], spans: list[Span], done: bool) -> None:
        body = self._writer
        if body is None:
            return
        if spans:
            for span in spans:
                self.sent_bytes += len(span)
            pieces += body.frame(spans)
        if done:
            connection = self.connection
            end = body.end(connection.trailers if connection is not None else ())
            if end:
                pieces.append(end)
        if pieces:
            self.server.write(pieces)
        if done:
            self._finish(self._keep_alive)

    def client_slow(self, slow: bool) -> None:
        """Called by the server connection: the client reads slowly, or has caught up."""
        if self.connection is not None:
            if slow:
                self.connection.wire.pause_reading()
            else:
                self.connection.wire.resume_reading()

    # --- the end

    def client_gone(self) -> None:
        """Called by the server connection: nobody waits for the answer."""
        self.reason = self.reason or CLIENT_GONE.name
        self._end(reusable=False)

    def fail(self, fault: Fault, detail: str = "") -> None:
        """Answer with this; if an answer has begun, cut it."""
        if self.over:
            return
        self.reason = fault.name
        if self.status:
            self.cut = True
            self._end(reusable=False)
            self.server.cut()
            return
        self.reply(fault.status, f"chowk: {fault.name}: {detail or fault.text}\n".encode(), {ERROR_HEADER: fault.name})

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Answer without asking the server, or without waiting for it."""
        self.status = status
        closes = self.server.closes or not self.upload.done
        out = answer(self.request, status, body, self.own_headers() | headers, close=closes)
        self.sent_bytes = len(body)
        self.server.write([out.head])
        self._finish(out.keep_alive)

    def quiet(self, quiet_s: float) -> None:
        """Called by the server connection: nothing has moved for so long."""
        if quiet_s >= self.idle_s:
            self.fail(STALLED)

    @property
    def idle_s(self) -> float:
        """How long nothing may move."""
        return self.state.settings.idle_timeout_s

    def _finish(self, keep_alive: bool) -> None:
        self._end(reusable=self.upload.done)
        self.server.exchange_over(keep_alive and self.upload.done)

    def _end(self, reusable: bool) -> None:
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        self.withdrawn()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.end_call(reusable)
        self.ended(self.state.clock.now() - self.began)

    # --- tunnels

    def switched(self, response: ResponseHead, rest: bytes) -> None:
        """Called by the connection: from here on bytes pass both ways, as they are (101, or 2xx to CONNECT)."""
        out = self.back(response)
        connection, server = self.connection, self.server
        if connection is None:
            return
        self.status = response.status
        self.connection = None
        if not (self.upload.done and connection.alive):
            connection.discard()
            self.fail(BAD_RESPONSE, "the upstream switched protocols in the middle of the request")
            return
        waiting = server.take_over()
        connection.leave_http()
        server.wire.write([out.head, rest] if rest else [out.head])
        if waiting:
            connection.wire.write([waiting])
        self._end(reusable=False)
        self.tunnelled(connection)

    def tunnelled(self, connection: ClientConnection) -> None:
        """The two connections are one pipe from now on."""
        tls, plain = self.server.wire, connection.wire
        if isinstance(tls, PlainLink):
            tls, plain = plain, tls
        if not isinstance(tls, TlsLink) or not isinstance(plain, PlainLink):
            raise TypeError("a tunnel joins a TLS link and a plain one")
        pipe = Pipe(tls, plain, self.tally, lambda pipe: self.tunnel_over(pipe, connection))
        self.state.pipes.add(pipe)
        self.tunnels[pipe] = self
        pipe.start()

    @property
    @abstractmethod
    def tally(self) -> Tally:
        """Counts the bytes of tunnels."""

    @property
    @abstractmethod
    def tunnels(self) -> dict[Pipe, Relay]:
        """The tunnels of this listener, and what each was asked for."""

    def tunnel_over(self, pipe: Pipe, connection: ClientConnection) -> None:
        """Both ends of the pipe are gone."""
        self.tunnels.pop(pipe, None)
        self.state.pipes.discard(pipe)
        connection.gone()
        self.server.gone()
