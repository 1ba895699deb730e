"""A local listener of one upstream: the application's bytes, over mutual TLS, to one healthy instance of another service.

Trust boundary: the far end must prove exactly the SPIFFE id the snapshot names, before a byte is sent,
in a resumed session too.
An instance that cannot be dialled is passed over for the next one; once bytes may have been sent nothing is tried again.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from chowk.connect.balance.choice import choose
from chowk.connect.balance.cooldown import Cooldown
from chowk.connect.ca.verification import IdentityError
from chowk.connect.limits.gate import Gate
from chowk.connect.proxy.credentials import Credentials
from chowk.connect.proxy.links import Pipe, PlainLink, Tally, TlsLink
from chowk.connect.proxy.listener import Place
from chowk.connect.proxy.state import ProxyState
from chowk.connect.snapshot import Endpoint, UpstreamSnapshot

ATTEMPTS_MAX: Final = 3


class DialError(OSError):
    """No connection to an instance; no byte of the application was sent."""


class AppLink(PlainLink):
    """One connection from the local application."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        self._upstream = upstream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        super().connection_made(transport)
        self._upstream.accepted(self)


class Upstream:
    """Lives as long as snapshots name it; `update` hands it its newest description."""

    def __init__(self, state: ProxyState, snapshot: UpstreamSnapshot) -> None:
        self.state = state
        self.snapshot = snapshot
        self.tally = Tally()
        self.dial_failures_total = 0
        self._room = Gate(snapshot.connections_max)
        self._live: dict[str, int] = {}
        self._cooldown = Cooldown()
        self._sessions: dict[str, tuple[ssl.SSLContext, ssl.SSLSession]] = {}

    def update(self, snapshot: UpstreamSnapshot) -> None:
        """Endpoints, identity or limits changed; open connections stay."""
        if snapshot.spiffe_id != self.snapshot.spiffe_id:
            self._sessions.clear()
        self.snapshot = snapshot
        self._room.limit = snapshot.connections_max
        keys = {endpoint.key for endpoint in snapshot.endpoints}
        self._cooldown.keep(keys)
        self._sessions = {key: value for key, value in self._sessions.items() if key in keys}

    @property
    def place(self) -> Place:
        """Where the snapshot wants it to listen."""
        upstream = self.snapshot
        if upstream.bind_socket_path:
            return Place(path=upstream.bind_socket_path, mode=upstream.bind_socket_mode)
        return Place(upstream.bind_address, upstream.bind_port)

    def make_link(self) -> AppLink:
        """The protocol of a new connection."""
        return AppLink(self)

    def accepted(self, plain: PlainLink) -> None:
        """The application wants to reach the upstream."""
        state = self.state
        if not state.connections.enter():
            state.warn("too many connections", limit=state.connections.limit)
            plain.reset()
            return
        if not self._room.enter():
            state.connections.leave()
            state.warn("too many connections to an upstream", upstream=self.snapshot.name, limit=self._room.limit)
            plain.reset()
            return
        self.tally.open += 1
        self.tally.total += 1
        state.tasks.spawn(self._join(plain), f"upstream {self.snapshot.name}")

    async def _join(self, plain: PlainLink) -> None:
        pipe: Pipe | None = None
        try:
            endpoint, tls = await self._dial_any()
            self._live[endpoint.key] = self._live.get(endpoint.key, 0) + 1
            pipe = Pipe(tls, plain, self.tally, lambda pipe: self._ended(pipe, endpoint.key))
            self.state.pipes.add(pipe)
            pipe.start()
        except DialError as error:
            self.state.warn("upstream cannot be reached", upstream=self.snapshot.name, reason=str(error))
        finally:
            if pipe is None:
                self._leave()
                plain.reset()

    async def _dial_any(self) -> tuple[Endpoint, TlsLink]:
        """The first instance that answers, of at most ATTEMPTS_MAX different ones."""
        tried: set[str] = set()
        reason = "no healthy instance"
        for _attempt in range(ATTEMPTS_MAX):
            upstream = self.snapshot
            credentials = self.state.usable_credentials()
            if credentials is None:
                raise DialError("no valid leaf certificate")
            left = [endpoint for endpoint in upstream.endpoints if endpoint.key not in tried]
            avoid = self._cooldown.avoided(self.state.clock.now())
            endpoint = choose(left, self._live, avoid, self.state.rng)
            if endpoint is None:
                break
            tried.add(endpoint.key)
            try:
                tls = await self._dial(endpoint, upstream, credentials)
            except (OSError, TimeoutError) as error:
                reason = f"{endpoint.key} at {endpoint.address}:{endpoint.port}: {str(error) or 'timeout'}"
                self.dial_failures_total += 1
                self._cooldown.failed(endpoint.key, self.state.clock.now())
                continue
            self._cooldown.succeeded(endpoint.key)
            return endpoint, tls
        raise DialError(reason)

    async def _dial(self, endpoint: Endpoint, upstream: UpstreamSnapshot, credentials: Credentials) -> TlsLink:
        """A secured link to `endpoint`, whose identity is proven."""
        loop = asyncio.get_running_loop()
        secured: asyncio.Future[None] = loop.create_future()

        def keep_session(session: ssl.SSLSession) -> None:
            self._sessions[endpoint.key] = (credentials.client, session)

        link = TlsLink(
            run_step=self.state.line.add,
            on_secured=lambda _link: None if secured.done() else secured.set_result(None),
            on_failed=lambda _link, why: None if secured.done() else secured.set_exception(DialError(why)),
            on_session=keep_session,
        )
        context, session = self._sessions.get(endpoint.key, (None, None))
        done = False
        try:
            async with asyncio.timeout(upstream.connect_timeout_s):
                await loop.create_connection(lambda: link, endpoint.address, endpoint.port)
            async with asyncio.timeout(self.state.settings.handshake_timeout_s):
                link.start(
                    credentials.client, server_side=False, session=session if context is credentials.client else None
                )
                await secured
            self._check_identity(link, upstream)
            done = True
        finally:
            secured.cancel()
            if not done:
                self._sessions.pop(endpoint.key, None)
                link.reset()
        return link

    def _check_identity(self, link: TlsLink, upstream: UpstreamSnapshot) -> None:
        snapshot = self.state.snapshot
        domain = snapshot.roots.trust_domain if snapshot is not None else ""
        try:
            identity = self.state.peers.identify(link.peer_leaf, domain, self.state.clock.wall())
        except IdentityError as error:
            raise DialError(str(error)) from error
        if str(identity) != upstream.spiffe_id:
            raise DialError(f"it proved to be {identity}, not {upstream.spiffe_id}")

    def _ended(self, pipe: Pipe, key: str) -> None:
        self.state.pipes.discard(pipe)
        left = self._live.get(key, 0) - 1
        if left > 0:
            self._live[key] = left
        else:
            self._live.pop(key, None)
        self._leave()

    def _leave(self) -> None:
        self.tally.open -= 1
        self._room.leave()
        self.state.connections.leave()
