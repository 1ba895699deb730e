"""A mutual TLS connection to one instance of another service, its identity proven. Called by the upstream listeners.

Trust boundary: the far end must prove exactly the SPIFFE id the snapshot names, before a byte is sent, in a resumed session
too.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from chowk.connect.balance.hosts import Host
from chowk.connect.ca.verification import IdentityError
from chowk.connect.proxy.link import dial_tcp
from chowk.connect.proxy.state import ProxyState
from chowk.connect.proxy.wires import TlsWire

SESSION_S: Final = 3600.0
"""So long a session is used before all is proven again; less than the two hours that OpenSSL's tickets last."""


class DialError(OSError):
    """No connection to an instance; no byte of the application was sent."""


class Dialler:
    """Remembers the last TLS session of each host, so that the next handshake with it costs less."""

    def __init__(self, state: ProxyState) -> None:
        self._state = state
        self._sessions: dict[Host, tuple[ssl.SSLContext, str, ssl.SSLSession, float]] = {}

    def forget_gone(self) -> None:
        """The snapshot changed: hosts that have left their cluster are not dialled any more."""
        self._sessions = {host: kept for host, kept in self._sessions.items() if host.group >= 0}

    async def dial(self, host: Host, timeout_s: float) -> TlsWire:
        """A secured link to `host`. OSError (a DialError where it is not the network's) or TimeoutError."""
        credentials = self._state.usable_credentials(host.target.service)
        if credentials is None:
            raise DialError("no valid leaf certificate")
        loop = asyncio.get_running_loop()
        endpoint, expected = host.endpoint, host.spiffe_id
        secured: asyncio.Future[None] = loop.create_future()

        def keep_session(session: ssl.SSLSession) -> None:
            if host.group >= 0:  # else the host has left its cluster meanwhile
                self._sessions[host] = (credentials.client, expected, session, self._state.clock.now())

        wire = TlsWire(
            run_step=self._state.line.add,
            on_secured=lambda _link: None if secured.done() else secured.set_result(None),
            on_failed=lambda _link, why: None if secured.done() else secured.set_exception(DialError(why)),
        )
        wire.context = credentials.client
        session = self._session(host, credentials.client)
        done = False
        try:
            async with asyncio.timeout(timeout_s) as timeout:
                await dial_tcp(wire, endpoint.address, endpoint.port)
                timeout.reschedule(loop.time() + self._state.settings.handshake_timeout_s)
                wire.start(credentials.client, server_side=False, session=session)
                await secured
            self._check_identity(wire, expected, host.target.service)
            self._state.secured(wire, host.target.service, credentials)
            if session is None:
                wire.offer_session(keep_session)
            elif not wire.resumed:
                self._sessions.pop(host, None)  # refused; who offers a session is given no ticket (see `client_hello`)
            done = True
        finally:
            secured.cancel()
            if not done:
                self._sessions.pop(host, None)
                wire.reset()
        return wire

    def _session(self, host: Host, context: ssl.SSLContext) -> ssl.SSLSession | None:
        """What can be resumed with `host`: proven to who we are now, by who it is now, and not long ago."""
        known, identity, session, taken_at = self._sessions.get(host, (None, "", None, 0.0))
        fresh = self._state.clock.now() - taken_at < SESSION_S
        return session if known is context and identity == host.spiffe_id and fresh else None

    def _check_identity(self, wire: TlsWire, expected: str, service: str) -> None:
        snapshot = self._state.snapshot
        domain = snapshot.roots.trust_domain if snapshot is not None else ""
        try:
            identity = self._state.peers.identify(
                wire.peer_leaf, domain, self._state.clock.wall(), any_time=self._state.bypassed(service)
            )
        except IdentityError as error:
            raise DialError(str(error)) from error
        if str(identity) != expected:
            raise DialError(f"it proved to be {identity}, not {expected}")
