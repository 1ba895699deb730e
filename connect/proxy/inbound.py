"""The public listener: mutual TLS from other proxies, judged by identity and intentions, passed to the local application.

Trust boundary. Nothing reaches the application before the handshake has proven a certificate of this mesh, the certificate
names exactly one service of our trust domain, and the intentions allow it. When those
change, open connections are judged again.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from chowk.connect.ca.verification import IdentityError
from chowk.connect.limits.gate import Gate
from chowk.connect.limits.rates import RateLimiter
from chowk.connect.proxy.application import dial_application
from chowk.connect.proxy.credentials import Credentials
from chowk.connect.proxy.http_inbound import HTTP, HttpInbound
from chowk.connect.proxy.links import Pipe, PlainLink, TlsLink
from chowk.connect.proxy.listener import Place
from chowk.connect.proxy.state import ProxyState
from chowk.connect.proxy.tally import Tally
from chowk.connect.proxy.verdict import judge_connection
from chowk.connect.proxy.wires import TlsWire
from chowk.connect.snapshot import InboundSnapshot, ProxySnapshot, SpiffeService
from chowk.connect.stats.edges import INBOUND
from chowk.core.records.traffic import RateLimits

log = structlog.get_logger("chowk.proxy")
SILENT_MAX: Final = 512
"""Connections that have sent nothing yet; of more, the oldest is dropped, so that silence cannot keep others out."""


class InboundLink(TlsWire):
    """One accepted connection until it is joined with the application."""

    def __init__(self, inbound: Inbound) -> None:
        super().__init__(
            run_step=inbound.state.line.add, on_secured=inbound.secured, on_failed=inbound.handshake_failed
        )
        self._inbound = inbound
        self.timeout: asyncio.TimerHandle | None = None
        self.credentials: Credentials | None = None
        self.counted = False
        self.shaking = False
        self.peer_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        super().connection_made(transport)
        self._inbound.accepted(self)

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the loop; the first bytes begin the handshake."""
        if self.timeout is not None and not self.shaking and not self._inbound.begin(self):
            return
        super().buffer_updated(nbytes)

    def eof_received(self) -> bool:
        """Called by the loop."""
        self.peer_ended = True
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once."""
        self.peer_ended = True
        super().connection_lost(exc)


class Inbound:
    """Lives as long as the proxy; the snapshot says where it listens and whom it serves."""

    def __init__(self, state: ProxyState) -> None:
        self.state = state
        self.tally = Tally()
        self.denied_total = 0
        self._room = Gate(0)
        self._rates = RateLimiter(RateLimits(), 0.0)
        self._silent: dict[InboundLink, None] = {}
        self._sources: dict[Pipe, str] = {}
        self.http = HttpInbound(state, self.tally)

    def place(self, snapshot: ProxySnapshot) -> Place | None:
        """Where the snapshot wants it to listen."""
        inbound = snapshot.inbound
        if inbound is None:
            return None
        self._room.limit = inbound.connections_max
        return Place(inbound.bind_address, inbound.bind_port)

    def make_link(self) -> InboundLink:
        """The protocol of a new connection."""
        return InboundLink(self)

    def follow(self, snapshot: ProxySnapshot) -> None:
        """A newer snapshot: connections that its intentions do not allow end now."""
        self.http.follow(snapshot)
        inbound = snapshot.inbound
        if inbound is not None and inbound.rate_limits != self._rates.limits:
            self._rates = RateLimiter(inbound.rate_limits, self.state.clock.now())
        verdicts: dict[str, bool] = {}
        for pipe, source in list(self._sources.items()):
            if source not in verdicts:
                verdicts[source] = self._allowed(source)
            if not verdicts[source]:
                self.denied_total += 1
                pipe.reset()

    # --- the way of a connection

    def accepted(self, link: InboundLink) -> None:
        """It may stay if there is room and we can prove who we are; else it counts as a failed handshake."""
        state = self.state
        if state.usable_credentials(self._service) is None:
            link.reset()
            return
        if not state.connections.enter():
            state.warn("too many connections", limit=state.connections.limit)
            link.reset()
            return
        if not self._room.enter():
            state.connections.leave()
            state.warn("too many inbound connections", limit=self._room.limit)
            link.reset()
            return
        link.counted = True
        self.tally.open += 1
        self.tally.total += 1
        loop = asyncio.get_running_loop()
        link.timeout = loop.call_later(state.settings.handshake_timeout_s, link.fail, "handshake timeout")
        if len(self._silent) >= SILENT_MAX:
            next(iter(self._silent)).fail("silent, and others came")
        self._silent[link] = None

    def begin(self, link: InboundLink) -> bool:
        """First bytes came. False when no handshake can be begun now."""
        self._silent.pop(link, None)
        credentials = self.state.usable_credentials(self._service)
        if credentials is None or not self.state.handshakes.enter():
            link.fail("no valid leaf" if credentials is None else "too many handshakes at once")
            return False
        link.shaking = True
        link.credentials = credentials
        link.start(credentials.server, server_side=True)
        return True

    def handshake_failed(self, link: TlsLink, reason: str) -> None:
        """It proved nothing. Who came and went without a byte began no handshake: TCP health checks do so each 10 s."""
        if not isinstance(link, InboundLink):
            return
        if link in self._silent and link.peer_ended:
            log.debug("inbound connection ended before its first byte")
        else:
            self.state.handshake_failures += 1
            if link.shaking:
                self.state.warn("inbound handshake failed", reason=reason)
        self._handshake_over(link)
        self._forget(link)

    def secured(self, link: TlsLink) -> None:
        """The chain is proven; now who it is and whether it may."""
        if not isinstance(link, InboundLink):
            return
        self._handshake_over(link)
        snapshot = self.state.snapshot
        inbound = snapshot.inbound if snapshot is not None else None
        if inbound is not None and inbound.protocol == HTTP:
            identity = self._identity_of(link)
            if identity is not None:
                self.state.edges.peer(INBOUND, identity.service).opened += 1
                self.http.serve(link, identity, lambda: self._forget(link))
                return
        elif inbound is not None:
            source = self._source_of(link)
            if source is not None and not self._rate_kept(source):
                link.end_sending()  # a proper end: nothing is wrong with this instance, so no caller should eject it
                self._forget(link)
                link.close()
                return
            if source is not None:
                self.state.tasks.spawn(self._join(link, source, inbound), f"inbound from {source}")
                return
        self._forget(link)
        link.reset()

    def _identity_of(self, link: InboundLink) -> SpiffeService | None:
        snapshot = self.state.snapshot
        if snapshot is None:
            return None
        try:
            identity = self.state.peers.identify(
                link.peer_leaf,
                snapshot.roots.trust_domain,
                self.state.clock.wall(),
                any_time=self.state.bypassed(snapshot.service),
            )
        except IdentityError as error:
            self.state.handshake_failures += 1
            self.state.warn("inbound peer refused", reason=str(error))
            return None
        if link.credentials is not None:
            self.state.secured(link, snapshot.service, link.credentials)
        return identity

    def _source_of(self, link: InboundLink) -> str | None:
        """Who it is, if a TCP connection is allowed to it."""
        snapshot = self.state.snapshot
        identity = self._identity_of(link)
        if snapshot is None or identity is None:
            return None
        verdict = judge_connection(snapshot, identity.service, self.state.clock.wall())
        peer = self.state.edges.peer(INBOUND, identity.service)
        if not verdict.allowed:
            self.denied_total += 1
            peer.denied += 1
            self.state.warn("denied by intentions", source=identity.service, destination=snapshot.service)
            return None
        peer.opened += 1
        if verdict.waived:
            peer.permitted += 1
            self.state.warn(
                "intentions would deny", source=identity.service, destination=snapshot.service, waived=verdict.waived
            )
        return identity.service

    def _rate_kept(self, source: str) -> bool:
        """Whether one more connection of `source` is within the rates; of TCP each connection counts as a request."""
        exceeded = self._rates.ask(self.state.clock.now(), source)
        if exceeded is not None:
            self.state.warn("connections exceed a rate limit", source=source, limit=exceeded.what)
        return exceeded is None

    async def _join(self, link: InboundLink, source: str, inbound: InboundSnapshot) -> None:
        joined = False
        try:
            plain = await dial_application(inbound, PlainLink())
            if self._allowed(source):
                pipe = Pipe(link, plain, self.tally, self._ended)
                self._sources[pipe] = source
                self.state.pipes.add(pipe)
                joined = True
                pipe.start()
            else:
                self.denied_total += 1
                plain.reset()
        except (OSError, TimeoutError) as error:
            self.state.warn("the application cannot be reached", error=str(error) or "timeout")
        finally:
            if not joined:
                self._forget(link)
                link.reset()

    def _allowed(self, source: str) -> bool:
        return judge_connection(self.state.snapshot, source, self.state.clock.wall()).allowed

    @property
    def _service(self) -> str:
        return self.state.snapshot.service if self.state.snapshot is not None else ""

    def _handshake_over(self, link: InboundLink) -> None:
        self._silent.pop(link, None)
        if link.timeout is not None:
            link.timeout.cancel()
            link.timeout = None
        if link.shaking:
            link.shaking = False
            self.state.handshakes.leave()

    def _forget(self, link: InboundLink) -> None:
        if link.counted:
            link.counted = False
            self.tally.open -= 1
            self._room.leave()
            self.state.connections.leave()

    def _ended(self, pipe: Pipe) -> None:
        self._sources.pop(pipe, None)
        self.state.pipes.discard(pipe)
        if isinstance(pipe.tls, InboundLink):
            self._forget(pipe.tls)
