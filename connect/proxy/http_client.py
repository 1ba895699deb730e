"""The client's side of HTTP/1.1 on one connection: one request at a time goes out, its answer is read and handed on.

Made by a `Pool` from a dialled wire; used by exchanges and mirrors, its `Caller`s. What an upstream can do wrong ends here:
bytes that nobody asked for, an end in the middle, lengths that lie. Nothing is collected.
"""

from __future__ import annotations

from typing import Final, Protocol

from chowk.connect.http1.body import BodyReader, Span, Trailers, reader
from chowk.connect.http1.framing import Kind
from chowk.connect.http1.heads import ResponseHead, ResponseReader
from chowk.connect.http1.limits import BETWEEN_PROXIES, LIMITS
from chowk.connect.http1.refusal import Refusal
from chowk.connect.proxy.http_faults import BAD_RESPONSE, CUT, RESET, Fault
from chowk.connect.proxy.wires import TlsWire, Wire

INTERIMS_MAX: Final = 256
"""Answers before the answer (1xx) to one request: whoever sends more of them is not going to answer."""


class Caller(Protocol):
    """Who waits for the answer. After `done`, `switched` or `broken` the connection has no caller."""

    def interim(self, response: ResponseHead) -> None:
        """A 1xx; the answer is still to come."""

    def answered(self, response: ResponseHead, spans: list[Span], done: bool) -> None:
        """The head of the answer, with the content that came with it."""

    def content(self, spans: list[Span], done: bool) -> None:
        """More content. `done`: that was all of the answer."""

    def switched(self, response: ResponseHead, rest: bytes) -> None:
        """The connection is HTTP no longer; `rest` is the first that came after the head."""

    def broken(self, fault: Fault, detail: str) -> None:
        """There will be no more of an answer."""

    def upload_slow(self, slow: bool) -> None:
        """The server reads slowly, or has caught up."""


class Home(Protocol):
    """The pool a connection belongs to."""

    def released(self, connection: ClientConnection) -> None:
        """It may carry another request."""

    def ended(self, connection: ClientConnection) -> None:
        """It is gone. Called once."""


class ClientConnection:
    """`uses` counts requests; `touched`: a byte of the current answer came. `idle_since` is the pool's."""

    def __init__(self, wire: Wire, home: Home) -> None:
        self.wire = wire
        self.uses = 0
        self.touched = False
        self.idle_since = 0.0
        self.trailers: Trailers = ()
        self._home = home
        self._caller: Caller | None = None
        self._method = ""
        self._reader = ResponseReader(BETWEEN_PROXIES if isinstance(wire, TlsWire) else LIMITS)
        self._body: BodyReader | None = None
        self._reusable = False
        self._interims = 0
        wire.end = self

    @property
    def alive(self) -> bool:
        """Whether it may still be written to."""
        return not self.wire.lost and self.wire.transport is not None and not self.wire.transport.is_closing()

    @property
    def reused(self) -> bool:
        """Whether its current request is not its first."""
        return self.uses > 1

    def call(self, caller: Caller, method: str, pieces: list[Span]) -> None:
        """Begin a request with these bytes; `caller` hears of the answer."""
        self._caller = caller
        self._method = method
        self._body = None
        self._interims = 0
        self.touched = False
        self.uses += 1
        self.wire.write(pieces)

    def end_call(self, reusable: bool) -> None:
        """The caller has all of the answer, or wants no more of it. `reusable`: it has sent all of its request."""
        self._caller = None
        body, self._body = self._body, None
        if not reusable or body is None or not body.done:
            self.discard()
        elif self._reusable and self.alive:
            self.wire.resume_reading()
            self._home.released(self)
        else:
            self.wire.finish()

    def discard(self) -> None:
        """End it now, whatever it does."""
        self._caller = None
        self.wire.reset()

    def leave_http(self) -> None:
        """The connection becomes a tunnel, whoever joins it calls `gone` at its end."""
        self._caller = None
        self.wire.end = None

    def gone(self) -> None:
        """The tunnel that it became is over."""
        self._home.ended(self)

    # --- from the wire

    def received(self, data: bytes) -> None:
        """Called by the wire."""
        caller = self._caller
        if caller is None:
            self.wire.reset()  # nobody asked for anything
            return
        self.touched = True
        try:
            if self._body is None:
                self._take_heads(caller, data)
            else:
                spans, rest = self._body.feed(data)
                self._hand_on(self._body, rest)
                caller.content(spans, self._body.done)
        except Refusal as refusal:
            self._break(BAD_RESPONSE, refusal.reason)

    def _take_heads(self, caller: Caller, data: bytes) -> None:
        found = self._reader.feed(data, self._method)
        while found is not None:
            response, rest = found
            if response.framing.kind is Kind.TUNNEL:
                caller.switched(response, rest)
                return
            if not response.interim:
                body = self._body = reader(response.framing, 502)
                self._reusable = response.keep_alive
                spans, rest = body.feed(rest)
                self._hand_on(body, rest)
                caller.answered(response, spans, body.done)
                return
            self._interims += 1
            if self._interims > INTERIMS_MAX:
                raise Refusal(502, "interims", f"more than {INTERIMS_MAX} interim answers")
            caller.interim(response)
            found = self._reader.feed(rest, self._method) if rest and self._caller is caller else None

    def _hand_on(self, body: BodyReader, rest: bytes) -> None:
        if body.done:
            self.trailers = body.trailers
            if rest:
                self._reusable = False  # it says more than it was asked

    def ended(self) -> None:
        """Called by the wire: a proper end, which is that of an answer without a length."""
        caller, body = self._caller, self._body
        if caller is None:
            self.wire.reset()
        elif body is None:
            self._break(RESET, "the connection was closed")
        else:
            try:
                body.end()
            except Refusal as refusal:
                self._break(CUT, refusal.reason)
            else:
                self._reusable = False
                caller.content([], True)

    def lost(self) -> None:
        """Called by the wire."""
        caller = self._caller
        if caller is not None:
            self._break(RESET if self._body is None else CUT, "the connection was reset")
        self._home.ended(self)

    def writing_paused(self) -> None:
        """Called by the wire."""
        if self._caller is not None:
            self._caller.upload_slow(True)

    def writing_resumed(self) -> None:
        """Called by the wire."""
        if self._caller is not None:
            self._caller.upload_slow(False)

    def _break(self, fault: Fault, detail: str) -> None:
        caller, self._caller = self._caller, None
        self.wire.reset()
        if caller is not None:
            caller.broken(fault, detail)
