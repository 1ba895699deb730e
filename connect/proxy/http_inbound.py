"""HTTP at the public listener: each request of another service is judged, admitted and passed to the local application.

Trust boundary. The caller is who the handshake has proven, never what a header says: `X-Forwarded-Client-Cert` is written
from the proven SPIFFE id and a received one dropped, `x-chowk-error` is the proxies' own and taken from no application.
Intentions are judged for every request, by the normalised path, and again when they change, for the requests in work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from chowk.connect.http1.forwarding import Passage
from chowk.connect.http1.heads import RequestHead
from chowk.connect.intentions.requests import RequestPolicy
from chowk.connect.limits.admission import Admission, Priority, priority_of
from chowk.connect.limits.concurrency import AdaptiveLimit, FixedLimit
from chowk.connect.limits.rates import RateLimiter, retry_after
from chowk.connect.proxy.application import dial_application
from chowk.connect.proxy.http_exchange import Relay
from chowk.connect.proxy.http_faults import DENIED, Fault
from chowk.connect.proxy.http_inbound_exchange import InboundExchange
from chowk.connect.proxy.http_observation import note_unread
from chowk.connect.proxy.http_pool import Pool
from chowk.connect.proxy.http_server import ServerConnection, address_of
from chowk.connect.proxy.links import Pipe
from chowk.connect.proxy.state import ProxyState
from chowk.connect.proxy.tally import Tally
from chowk.connect.proxy.verdict import waive
from chowk.connect.proxy.wires import PlainWire, TlsWire
from chowk.connect.routing.conditions import BadCondition, Test, path_test
from chowk.connect.snapshot import InboundSnapshot, ProxySnapshot, SpiffeService
from chowk.connect.stats.edges import INBOUND, Edge
from chowk.core.records.traffic import Concurrency, Fallback, RateLimits, RouteRate

HTTP: Final = "http"
"""The protocol that is understood; all others are carried as TCP."""
POLICIES_MAX: Final = 1024
"""Callers whose policy is kept compiled; of more, all are compiled anew."""
_NO_RATES: Final = RateLimits()


class HttpInbound:
    """Lives as long as its `Inbound`. `follow` takes each snapshot."""

    def __init__(self, state: ProxyState, tally: Tally) -> None:
        self.state = state
        self.tally = tally
        self.denied_total = 0
        self.connections: dict[ServerConnection, Callable[[], None]] = {}
        self.tunnels: dict[Pipe, Relay] = {}
        self.admission: Admission[InboundExchange] = Admission(FixedLimit(0))
        self._concurrency = Concurrency()
        self._rates = RateLimits()
        self._limiter = RateLimiter(self._rates, 0.0)
        self._rate_tests: tuple[Test | None, ...] = ()
        self._policies: dict[str, RequestPolicy] = {}
        self._snapshot: ProxySnapshot | None = None
        self._pool: Pool | None = None
        self._pool_place: tuple[str, int, str, float] | None = None
        self._wake: asyncio.TimerHandle | None = None

    @property
    def snapshot(self) -> ProxySnapshot | None:
        """The newest."""
        return self._snapshot

    def follow(self, snapshot: ProxySnapshot) -> None:
        """A newer snapshot: it counts for the next request, and intentions for those in work too."""
        self._snapshot = snapshot
        self._policies.clear()
        inbound = snapshot.inbound
        if inbound is None or inbound.protocol != HTTP:
            for connection in list(self.connections):
                connection.drain()
        if inbound is None:
            return
        if inbound.rate_limits != self._rates:
            self._rates = inbound.rate_limits
            self._limiter = RateLimiter(self._rates, self.state.clock.now())
            self._rate_tests = tuple(map(_rate_test, self._rates.instance_level.routes))
        if inbound.concurrency != self._concurrency:
            self._concurrency = inbound.concurrency
            self.admission.limit = _limit_of(inbound.concurrency)
        self._judge_again()

    def serve(self, wire: TlsWire, identity: SpiffeService, closed: Callable[[], None]) -> None:
        """A connection whose peer has proven itself. `closed` is called once, when it is gone."""
        wire.tally = self.tally
        own = self._own_identity()
        passage = Passage(
            client_cert=f"By={own};URI={identity}".encode(),
            forwarded_for=address_of(wire).encode(),
            authority=own.service.encode(),
        )
        connection = ServerConnection(self.state, wire, self, passage, identity.service)
        self.connections[connection] = closed
        wire.begin()

    def _own_identity(self) -> SpiffeService:
        snapshot = self._snapshot
        if snapshot is None:
            raise RuntimeError("nobody is served before there is a snapshot")
        domain = snapshot.roots.trust_domain
        return SpiffeService(trust_domain=domain, datacenter=snapshot.datacenter, service=snapshot.service)

    # --- the handler of its connections

    def exchange(self, connection: ServerConnection, request: RequestHead) -> InboundExchange:
        """Called by the connection."""
        return InboundExchange(self, connection, request)

    def refused(self, connection: ServerConnection, fault: Fault, status: int, detail: str) -> None:
        """Called by the connection."""
        self.state.warn("inbound request refused", source=connection.source, reason=detail)
        self.state.edges.edge(INBOUND, connection.source).done(status, 0.0, fault.name)
        own = self._snapshot.service if self._snapshot is not None else ""
        note_unread(self.state, INBOUND, connection.source, own, fault, status)

    def closed(self, connection: ServerConnection) -> None:
        """Called by the connection."""
        closed = self.connections.pop(connection, None)
        if closed is not None:
            closed()

    # --- judging

    def denial(self, source: str, request: RequestHead) -> str | None:
        """Why this request may not pass; None when it may. What is waived is counted."""
        snapshot = self._snapshot
        if snapshot is None or snapshot.inbound is None:
            return "there is no snapshot yet"
        policy = self._policies.get(source)
        if policy is None:
            if len(self._policies) >= POLICIES_MAX:
                self._policies.clear()
            policy = RequestPolicy(snapshot.intentions, source, snapshot.service, snapshot.default_allow)
            self._policies[source] = policy
        decision = policy.decide(request)
        if decision.allowed:
            return None
        verdict = waive(snapshot, decision.reason, self.state.clock.wall())
        peer = self.state.edges.peer(INBOUND, source)
        if verdict.allowed:
            peer.permitted += 1
            self.state.warn("intentions would deny", source=source, destination=snapshot.service, waived=verdict.waived)
            return None
        self.denied_total += 1
        peer.denied += 1
        self.state.warn("denied by intentions", source=source, destination=snapshot.service)
        return decision.reason

    def _judge_again(self) -> None:
        for connection in list(self.connections):
            exchange = connection.exchange
            if isinstance(exchange, InboundExchange) and not exchange.over:
                reason = self.denial(connection.source, exchange.request)
                if reason is not None:
                    exchange.fail(DENIED)
        for pipe, relay in list(self.tunnels.items()):
            if self.denial(relay.server.source, relay.request) is not None:
                pipe.reset()

    # --- limits

    def exceeded(self, source: str, request: RequestHead) -> int:
        """Seconds after which to try again, 0 when the rates allow this request."""
        if self._rates == _NO_RATES:
            return 0
        route = next((n for n, test in enumerate(self._rate_tests) if test is None or test(request.key)), None)
        exceeded = self._limiter.ask(self.state.clock.now(), source, route)
        return 0 if exceeded is None else retry_after(exceeded)

    @property
    def fallback(self) -> Fallback:
        """What shed requests get."""
        return self._concurrency.fallback

    def edge(self, source: str) -> Edge:
        """The counters of requests from `source`."""
        return self.state.edges.edge(INBOUND, source)

    @property
    def limits_concurrency(self) -> bool:
        """Whether requests pass the door of `admission`."""
        return self._concurrency.limit > 0 or self._concurrency.adaptive

    def priority(self, source: str, request: RequestHead) -> Priority:
        """What the request says of itself, if the caller is trusted with it."""
        concurrency = self._concurrency
        if not concurrency.priority_header:
            return Priority.DEFAULT
        value = request.get(concurrency.priority_header.lower().encode()).decode("latin-1")
        return priority_of(value, source, concurrency.trusted_callers)

    def admitted(self) -> None:
        """Tell those that waited what became of them, and be there when the next has waited for too long."""
        for decision in self.admission.take_effects():
            decision.ticket.decided(decision.admitted)
        if self._wake is None:
            deadline = self.admission.next_deadline()
            if deadline is not None:
                delay_s = max(0.0, deadline - self.state.clock.now())
                self._wake = asyncio.get_running_loop().call_later(delay_s, self._timer)

    def _timer(self) -> None:
        self._wake = None
        self.admission.handle_timer(self.state.clock.now())
        self.admitted()

    # --- the application

    def pool(self, inbound: InboundSnapshot) -> Pool:
        """Connections to the application, where the snapshot says it is."""
        place = (inbound.local_address, inbound.local_port, inbound.local_socket_path, inbound.connect_timeout_s)
        if self._pool is None or self._pool_place != place:
            if self._pool is not None:
                self._pool.retire()
            self._pool_place = place
            self._pool = Pool(
                self.state,
                lambda: dial_application(inbound, PlainWire()),
                idle_s=self.state.settings.http_app_idle_s,
            )
        return self._pool


def _limit_of(concurrency: Concurrency) -> FixedLimit | AdaptiveLimit:
    if concurrency.adaptive:
        return AdaptiveLimit(concurrency.limit_min, concurrency.limit)
    return FixedLimit(concurrency.limit)


def _rate_test(rate: RouteRate) -> Test | None:
    """A rate whose path cannot be compiled takes every request: rather too strict than none."""
    try:
        return path_test(rate)
    except BadCondition:
        return None
