"""One request of another service to the local application: judged, counted, let in, passed on. Made by `http_inbound`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chowk.connect.http1.edits import CompiledEdits
from chowk.connect.http1.forwarding import OutgoingResponse, request_to_upstream, response_to_client
from chowk.connect.http1.heads import RequestHead, ResponseHead
from chowk.connect.limits.admission import Verdict
from chowk.connect.proxy.http_exchange import IDEMPOTENT, Relay
from chowk.connect.proxy.http_faults import (
    APPLICATION_UNREACHABLE,
    CIRCUIT_OPEN,
    DENIED,
    ERROR_HEADER,
    ERROR_KEY,
    OVERLOADED,
    RATE_LIMITED,
    RESET,
    Fault,
)
from chowk.connect.proxy.http_observation import note
from chowk.connect.proxy.http_pool import Pool, PoolFull
from chowk.connect.proxy.http_server import ServerConnection
from chowk.connect.proxy.links import Pipe
from chowk.connect.proxy.tally import Tally
from chowk.connect.stats.edges import INBOUND

if TYPE_CHECKING:
    from chowk.connect.proxy.http_inbound import HttpInbound

_OWN: Final = CompiledEdits(dropped=frozenset((ERROR_KEY,)))
"""Only proxies say that a proxy made an answer."""


class InboundExchange(Relay):
    """What the application answers goes back; that the proxy answers itself is named in `x-chowk-error`."""

    def __init__(self, inbound: HttpInbound, server: ServerConnection, request: RequestHead) -> None:
        super().__init__(inbound.state, server, request)
        self._inbound = inbound
        self._pool: Pool | None = None
        self._admitted = False
        self._waits = False
        self._again = False
        self._answered_s: float | None = None

    def start(self) -> None:
        """Called by the server connection."""
        inbound, source, request = self._inbound, self.server.source, self.request
        snapshot = inbound.snapshot
        if snapshot is None or snapshot.inbound is None:
            self.fail(APPLICATION_UNREACHABLE)
            return
        if inbound.denial(source, request) is not None:
            self.fail(DENIED)
            return
        retry_after_s = inbound.exceeded(source, request)
        if retry_after_s:
            self.reason = RATE_LIMITED.name
            text = f"chowk: {RATE_LIMITED.name}: {RATE_LIMITED.text}\n".encode()
            self.reply(429, text, {ERROR_HEADER: RATE_LIMITED.name, "Retry-After": str(retry_after_s)})
            return
        self.set_timer(snapshot.inbound.request_timeout_s)
        if inbound.limits_concurrency:
            self._knock()
        else:
            self._go()

    def _knock(self) -> None:
        inbound = self._inbound
        priority = inbound.priority(self.server.source, self.request)
        verdict = inbound.admission.arrive(self.state.clock.now(), priority, self)
        if verdict is Verdict.ADMITTED:
            self.decided(True)
        elif verdict is Verdict.SHED:
            self._shed()
        else:
            self._waits = True
        inbound.admitted()

    def decided(self, admitted: bool) -> None:
        """Called by `http_inbound`: it may go, or is shed after all."""
        self._waits = False
        if not admitted:
            self._shed()
            return
        self._admitted = True
        if self.over:
            self._leave(None)
        else:
            self._go()

    def _shed(self) -> None:
        if self.over:
            return
        fallback = self._inbound.fallback
        self.reason = OVERLOADED.name
        text = fallback.body.encode() or f"chowk: {OVERLOADED.name}: {OVERLOADED.text}\n".encode()
        self.reply(fallback.status, text, fallback.headers | {ERROR_HEADER: OVERLOADED.name})

    def _go(self) -> None:
        snapshot = self._inbound.snapshot
        if snapshot is None or snapshot.inbound is None:
            self.fail(APPLICATION_UNREACHABLE)
            return
        pool = self._pool = self._inbound.pool(snapshot.inbound)
        try:
            if self._again:
                pool.wait(self)
            elif (connection := pool.acquire(self)) is not None:
                self.connected(connection)
        except PoolFull:
            self.fail(CIRCUIT_OPEN)

    # --- what the relay asks

    def outgoing(self) -> bytes:
        """The request as the application gets it; who called is what was proven."""
        out = request_to_upstream(self.request, self.server.passage, self.make_id)
        self.request_id = out.request_id
        return out.head

    def back(self, response: ResponseHead) -> OutgoingResponse:
        """The answer, without what only proxies say."""
        self._answered_s = self.state.clock.now() - self.tried_at
        return response_to_client(response, self.request, close=self.server.closes, edits=_OWN)

    def unreachable(self, reason: str) -> None:
        """Called by the pool."""
        self.state.warn("the application cannot be reached", error=reason)
        self.fail(APPLICATION_UNREACHABLE)

    def broken(self, fault: Fault, detail: str) -> None:
        """Called by the connection. One that was kept open may have been closed just when it was used: that is tried again
        once, where doing it twice does no harm.
        """
        connection, self.connection = self.connection, None
        stale = connection is not None and connection.reused and not connection.touched and fault is RESET
        if stale and not (self.committed or self._again) and self.request.method in IDEMPOTENT and self.upload.whole:
            self._again = True
            self._go()
        else:
            self.fail(fault, detail)

    def withdrawn(self) -> None:
        """Called at the end."""
        if self._pool is not None:
            self._pool.withdraw(self)
        if self._waits:
            self._waits = False
            self._inbound.admission.withdraw(self)
        if self._admitted:
            self._leave(self._latency())

    def _latency(self) -> float | None:
        """What this request tells of the application's speed: nothing when it went away or was refused at once."""
        if self._answered_s is not None:
            return self._answered_s
        return self.state.clock.now() - self.tried_at if self.status == 504 else None

    def _leave(self, latency_s: float | None) -> None:
        self._admitted = False
        self._inbound.admission.leave(self.state.clock.now(), latency_s, self.state.rng)
        self._inbound.admitted()

    def ended(self, duration_s: float) -> None:
        """For the books."""
        source = self.server.source
        self.count(self._inbound.edge(source), duration_s)
        if self.state.observers.active:
            snapshot = self._inbound.snapshot
            note(self, INBOUND, source, snapshot.service if snapshot is not None else "", duration_s)

    @property
    def tally(self) -> Tally:
        """Counts what tunnels carry."""
        return self._inbound.tally

    @property
    def tunnels(self) -> dict[Pipe, Relay]:
        """What tunnels were asked for: they are judged again with the intentions."""
        return self._inbound.tunnels
