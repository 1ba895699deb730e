"""One request of the application to another service: routed, balanced, tried, tried again where that is safe.

Another try is made only while no byte of an answer went to the client and the whole body is kept; for methods that are not
idempotent only when the application surely saw nothing: no connection could be made, or the proxy of the instance says so.
A retry costs from the cluster's budget; passing over an instance that cannot be dialled does not.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from chowk.connect.balance.cluster import ALL_FULL
from chowk.connect.balance.hosts import Host, Outcome
from chowk.connect.http1.authority import suffixed
from chowk.connect.http1.body import Span
from chowk.connect.http1.forwarding import OutgoingResponse, request_to_upstream, response_to_client
from chowk.connect.http1.heads import RequestHead, ResponseHead
from chowk.connect.http1.refusal import Refusal
from chowk.connect.proxy.clusters import LiveCluster
from chowk.connect.proxy.http_exchange import IDEMPOTENT, Relay
from chowk.connect.proxy.http_faults import (
    APPLICATION_UNREACHABLE,
    BAD_REQUEST,
    CIRCUIT_OPEN,
    ERROR_HEADER,
    ERROR_KEY,
    FALLEN_BACK,
    NO_INSTANCE,
    NO_ROUTE,
    NO_WORK,
    RESET,
    TRY_TIMEOUT,
    UNREACHABLE,
    Fault,
)
from chowk.connect.proxy.http_hash import hash_of
from chowk.connect.proxy.http_injection import injected_abort, injected_delay_s
from chowk.connect.proxy.http_mirror import SHADOW, outcome_of
from chowk.connect.proxy.http_observation import note
from chowk.connect.proxy.http_pool import Pool, PoolFull
from chowk.connect.proxy.http_retry import backoff_s, wants_silence, wants_status
from chowk.connect.proxy.http_server import ServerConnection
from chowk.connect.proxy.links import Pipe
from chowk.connect.proxy.tally import Tally
from chowk.connect.routing.router import Choice, CompiledRoute
from chowk.connect.stats.edges import OUTBOUND

if TYPE_CHECKING:
    from chowk.connect.proxy.http_outbound import HttpOutbound

DIALS_MAX: Final = 3
"""Instances that cannot be dialled are passed over, so many in one request."""


class OutboundExchange(Relay):
    """`start` decides where the request goes; `_attempt` sends it there, as often as it may."""

    def __init__(self, outbound: HttpOutbound, server: ServerConnection, request: RequestHead) -> None:
        super().__init__(outbound.state, server, request)
        self._outbound = outbound
        self._route: CompiledRoute | None = None
        self._choice: Choice | None = None
        self._live: LiveCluster | None = None
        self._inside = False
        """Counted in the cluster's breaker of requests."""
        self._key: int | None = None
        self._cookie = b""
        self._head = b""
        self._host: Host | None = None
        self._pool: Pool | None = None
        self._endpoint = self._service = ""
        self._outcome = Outcome.CANCELLED
        self._latency_s: float | None = None
        self._tried: list[Host] = []
        self._dead: list[Host] = []
        self._retries = 0
        self._again = False
        self._mirror = ""
        self._try_timer: asyncio.TimerHandle | None = None

    # --- where it goes

    def start(self) -> None:
        """Called by the server connection."""
        outbound, request = self._outbound, self.request
        try:
            compiled = self._route = outbound.router.route(request)
            if compiled is None:
                self.fail(NO_ROUTE)
                return
            redirect = compiled.route.redirect
            if redirect is not None:
                location = compiled.location(request, redirect).decode("latin-1")
                self.reply(redirect.status, b"", {"Location": location})
                return
            choice = self._choice = compiled.choose(request, self.state.rng)
        except Refusal as refusal:
            self.fail(Fault(BAD_REQUEST.name, refusal.status, refusal.reason))
            return
        live = self._live = None if choice is None else outbound.upstream.clusters.get(choice.split.cluster)
        if live is None:
            self.fail(NO_ROUTE, "the route leads nowhere")
            return
        self.set_timer(compiled.route.timeout_s or live.cluster.request_timeout_s)
        delay_s = injected_delay_s(compiled.route.fault, self.state.clock.wall(), self.state.rng)
        if delay_s:
            self._try_timer = asyncio.get_running_loop().call_later(delay_s, self._go)
        else:
            self._go()

    def _go(self) -> None:
        compiled, live = self._route, self._live
        if compiled is None or live is None:
            return
        self._try_timer = None
        route, rng = compiled.route, self.state.rng
        abort = injected_abort(route.fault, self.state.clock.wall(), rng)
        if abort is not None:
            self.fail(abort)
            return
        if not live.breakers.requests.enter():
            self.fail(CIRCUIT_OPEN, f"too many requests to {live.cluster.name}")
            return
        self._inside = True
        live.breakers.retries.request(self.began)
        keys = live.cluster.balance.hash_keys
        if keys:
            address = self._outbound.address(self.server)
            self._key, self._cookie = hash_of(keys, self.request, address, rng)
        if route.mirror is not None and rng.random() * 100.0 < route.mirror.percent:
            self._mirror = route.mirror.cluster
        if self._mirror and self.upload.done:
            self._send_mirror()
        self._attempt()

    # --- tries

    def _attempt(self) -> None:
        """Send it to one more instance."""
        compiled, live = self._route, self._live
        if compiled is None or live is None or self.over:
            return
        balancer, now, rng = live.balancer, self.state.clock.now(), self.state.rng
        passed_over = (*self._dead, *self._tried)
        host = balancer.pick(now, rng, self._key, passed_over)
        if host is None and self._tried:
            host = balancer.pick(now, rng, self._key, self._dead)  # better the same one than none
        if host is None:
            why = balancer.why_none(self._dead)
            if self._dead:
                self.fail(UNREACHABLE, self.detail)
            else:
                self.fail(CIRCUIT_OPEN if why == ALL_FULL else NO_INSTANCE, f"{why} of {live.cluster.name}")
            return
        balancer.started(host)
        self._host, self._outcome, self._latency_s = host, Outcome.CANCELLED, None
        self._endpoint, self._service = host.endpoint.key, host.target.service
        if compiled.route.try_timeout_s > 0:
            loop = asyncio.get_running_loop()
            self._try_timer = loop.call_later(compiled.route.try_timeout_s, self._try_timed_out)
        self.tried_at = now
        pool = self._pool = self._outbound.pool(live, host)
        try:
            if self._again:
                pool.wait(self)
            elif (connection := pool.acquire(self)) is not None:
                self.connected(connection)
        except PoolFull:
            self.fail(CIRCUIT_OPEN, f"too many requests wait for {live.cluster.name}")

    def outgoing(self) -> bytes:
        """The request's head, the same for every try."""
        if not self._head:
            self._head = self._written(b"")
        return self._head

    def _written(self, authority: bytes) -> bytes:
        choice = self._choice
        if choice is None:
            raise RuntimeError("a request without a route is not sent")
        out = request_to_upstream(
            self.request,
            self.server.passage,
            self._known_id,
            path=choice.path,
            authority=authority,
            edits=choice.request_edits,
        )
        self.request_id = out.request_id
        return out.head

    def _known_id(self) -> bytes:
        return self.request_id or self.make_id()

    def unreachable(self, reason: str) -> None:
        """Called by the pool: no byte was sent, so another instance may be tried whatever the request is."""
        host = self._host
        if host is None or self._live is None:
            return
        self.detail = f"{host.endpoint.key}: {reason}"
        self._try_over(Outcome.UNREACHABLE)
        self._dead.append(host)
        if len(self._dead) < max(DIALS_MAX, self._attempts + 1):
            self._attempt()
        else:
            self._warn(UNREACHABLE)
            self.fail(UNREACHABLE, self.detail)

    def broken(self, fault: Fault, detail: str) -> None:
        """Called by the connection: there will be no (more) answer over it."""
        connection, self.connection = self.connection, None
        if self.status:
            self._outcome = Outcome.GATEWAY
            self.fail(fault, detail)
            return
        stale = connection is not None and connection.reused and not connection.touched and fault is RESET
        if stale and not self._again and self._replayable:
            self._again = True  # it was closed while idle, just now: that says nothing of the instance
            self._try_over(Outcome.CANCELLED)
            self._attempt()
        elif not self._retried(Outcome.GATEWAY, asked=self._wants_silence):
            self._outcome = Outcome.GATEWAY
            self._warn(fault)
            self.fail(fault, detail)

    def _try_timed_out(self) -> None:
        self._try_timer = None
        sent = self.connection is not None
        if not self._retried(Outcome.GATEWAY, asked=self._wants_silence, worked=sent):
            self._outcome = Outcome.GATEWAY
            self._warn(TRY_TIMEOUT)
            self.fail(TRY_TIMEOUT)

    def wanted(self, response: ResponseHead, done: bool) -> bool:
        """Called when an answer begins: the client's, unless it is to be tried again."""
        if self._try_timer is not None:
            self._try_timer.cancel()
            self._try_timer = None
        status = response.status
        self._outcome = outcome_of(status)
        self._latency_s = self.state.clock.now() - self.tried_at
        error = response.get(ERROR_KEY)
        if error == APPLICATION_UNREACHABLE.name.encode() and self._passed_over(done):
            return False
        compiled = self._route
        if not self._attempts or compiled is None or not wants_status(compiled.route.retries, status):
            return True
        return not self._retried(self._outcome, asked=True, worked=error not in NO_WORK, reusable=done)

    def _passed_over(self, reusable: bool) -> bool:
        """Go to another instance: this one's sidecar says that nobody is behind it. As if it could not be dialled."""
        host, live = self._host, self._live
        if host is None or live is None or self.committed or not self.upload.whole:
            return False
        if len(self._dead) + 1 >= min(len(live.balancer.hosts), max(DIALS_MAX, self._attempts + 1)):
            return False
        self.detail = f"{host.endpoint.key}: {APPLICATION_UNREACHABLE.text}"
        self._try_over(Outcome.GATEWAY, reusable=reusable and self.upload.done)
        self._dead.append(host)
        self._attempt()
        return True

    def _retried(self, outcome: Outcome, *, asked: bool, worked: bool = True, reusable: bool = False) -> bool:
        """Make another try if that was asked for, is safe and within the budget. False: nothing has changed."""
        live = self._live
        safe = self._replayable if worked else (self.upload.whole and not self.committed)
        if live is None or not asked or not safe or self._retries >= self._attempts:
            return False
        if not live.breakers.retries.take(self.state.clock.now()):
            return False
        host = self._host
        self._try_over(outcome, reusable=reusable and self.upload.done)
        self._retries += 1
        if host is not None:
            self._tried.append(host)
            self._outbound.edge(self._service, self._route_name).retries += 1
        wait_s = backoff_s(self._retries, self.state.rng.random())
        self._try_timer = asyncio.get_running_loop().call_later(wait_s, self._attempt)
        return True

    def _try_over(self, outcome: Outcome, *, reusable: bool = False) -> None:
        """The books of one try."""
        if self._try_timer is not None:
            self._try_timer.cancel()
            self._try_timer = None
        if self._pool is not None:
            self._pool.withdraw(self)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.end_call(reusable)
            self.upload_slow(False)
        host, self._host = self._host, None
        if host is not None and self._live is not None:
            self._live.balancer.finished(host, self.state.clock.now(), self.state.rng, outcome, self._latency_s)

    @property
    def _replayable(self) -> bool:
        """Whether all of the request can be sent again, and sending it twice is as good as once."""
        return self.request.method in IDEMPOTENT and self.upload.whole and not self.committed

    @property
    def _attempts(self) -> int:
        return self._route.route.retries.attempts if self._route is not None else 0

    @property
    def _wants_silence(self) -> bool:
        return self._route is not None and wants_silence(self._route.route.retries)

    # --- the answer

    def back(self, response: ResponseHead) -> OutgoingResponse:
        """The answer with the route's edits, and the cookies that bind its caller."""
        choice = self._choice
        if choice is None:
            return super().back(response)
        edits = choice.response_edits
        if self._cookie:
            edits = msgspec.structs.replace(edits, added=(*edits.added, (b"Set-Cookie", self._cookie)))
        close = self.server.closes or (response.status >= 300 and not self.upload.done)
        return response_to_client(response, self.request, close=close, edits=edits, cookie=choice.cookie)

    def own_headers(self) -> dict[str, str]:
        """The route's response headers."""
        if self._route is None:
            return {}
        return {name.decode(): value.decode() for name, value in self._route.response_edits.added}

    def fail(self, fault: Fault, detail: str = "") -> None:
        """The route's fallback answers where no instance could."""
        fallback = self._route.route.fallback if self._route is not None else None
        if fallback is None or self.status or self.over or fault not in FALLEN_BACK:
            super().fail(fault, detail)
            return
        self.reason = fault.name
        self.reply(fallback.status, fallback.body.encode(), fallback.headers | {ERROR_HEADER: fault.name})

    @property
    def idle_s(self) -> float:
        """How long nothing may move."""
        own = self._route.route.idle_timeout_s if self._route is not None else 0.0
        return own or super().idle_s

    def withdrawn(self) -> None:
        """Called at the end."""
        if self.status == 504 and self.reason and self._outcome is Outcome.CANCELLED:
            self._outcome = Outcome.GATEWAY
        if self._try_timer is not None:
            self._try_timer.cancel()
            self._try_timer = None
        if self._pool is not None:
            self._pool.withdraw(self)
        if self._inside and self._live is not None:
            self._inside = False
            self._live.breakers.requests.leave()

    def ended(self, duration_s: float) -> None:
        """For the books."""
        if self._host is not None:
            self._try_over(self._outcome)
        service = self._service or self._outbound.upstream.snapshot.name
        self.count(self._outbound.edge(service, self._route_name), duration_s)
        if self.state.observers.active:
            snapshot = self.state.snapshot
            note(
                self,
                OUTBOUND,
                snapshot.service if snapshot is not None else "",
                service,
                duration_s,
                route=self._route_name,
                endpoint=self._endpoint,
                retries=self._retries,
            )

    @property
    def _route_name(self) -> str:
        return self._route.route.name if self._route is not None else ""

    @property
    def tally(self) -> Tally:
        """Counts what tunnels carry."""
        return self._outbound.upstream.tally

    @property
    def tunnels(self) -> dict[Pipe, Relay]:
        """The tunnels of this listener."""
        return self._outbound.tunnels

    def _warn(self, fault: Fault) -> None:
        self.state.warn("upstream failed", upstream=self._outbound.upstream.snapshot.name, reason=fault.name)

    # --- mirrors

    def uploaded(self, spans: list[Span]) -> None:
        """Called by the server connection: more of the body."""
        super().uploaded(spans)
        if self._mirror and self.upload.done:
            self._send_mirror()

    def _send_mirror(self) -> None:
        name, self._mirror = self._mirror, ""
        pieces: list[Span] = []
        if self.upload.whole:
            named = self.request.authority or self.server.passage.authority
            pieces = [self._written(suffixed(named, SHADOW)), *self.upload.copied()]
        self._outbound.mirror(name, self.request.method, pieces)
