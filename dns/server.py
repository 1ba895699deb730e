"""The DNS server: one UDP and one TCP listener an address, over one responder. Started by the agent's boot."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence

import structlog

from chowk.core.runtime.clock import Clock
from chowk.core.runtime.sockets import bind_tcp, bind_udp
from chowk.dns.lookup import Lookup
from chowk.dns.recursor import Recursor, parse_recursor
from chowk.dns.responder import Responder, Stats
from chowk.dns.settings import DnsSettings, make_zone
from chowk.dns.tcp import TcpListener
from chowk.dns.udp import UdpListener

log = structlog.get_logger("chowk.dns")

_PORT_TRIES = 20


class DnsServer:
    """`await start(addresses, port)`, `await close()`; `reload(settings)` in between. Port 0 takes a free one.

    ValueError when `settings` name a domain or a recursor that cannot be one.
    """

    def __init__(
        self,
        lookup: Lookup,
        settings: DnsSettings,
        node_name: str,
        datacenter: str,
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        self._node_name = node_name
        self._datacenter = datacenter
        self._settings = settings
        self._endpoints: set[tuple[str, int]] = set()
        zone = make_zone(settings, node_name, datacenter)
        for text in settings.recursors:
            parse_recursor(text)
        self._clock = clock
        self._responder = Responder(zone, None, lookup, clock, rng or random.Random())
        self._listeners: list[UdpListener | TcpListener] = []
        self.port = 0

    async def start(self, addresses: Sequence[str], port: int) -> None:
        """Listen on each address. PortTaken or OSError when one cannot be bound; then none is."""
        bound: list[tuple[socket.socket, socket.socket]] = []
        try:
            for address in addresses:
                bound.append(_bind_pair(address, port))
                port = bound[-1][0].getsockname()[1]
        except OSError:
            for pair in bound:
                for sock in pair:
                    sock.close()
            raise
        self.port = port
        self._endpoints = {sock.getsockname()[:2] for sock, _ in bound}
        self.reload(self._settings)
        for udp, tcp in bound:
            limit = self._settings.response_rate_limit
            for listener in (
                UdpListener(udp, self._responder, self._clock, limit),
                TcpListener(tcp, self._responder),
            ):
                self._listeners.append(listener)
                await listener.start()

    async def close(self) -> None:
        """Stop listening, close all connections, give up pending queries."""
        for listener in self._listeners:
            await listener.close()
        self._listeners.clear()
        await self._responder.close()

    def reload(self, settings: DnsSettings) -> None:
        """Answer by `settings` from now on; listeners stay. ValueError when they cannot be, and the old ones stay."""
        zone = make_zone(settings, self._node_name, self._datacenter)
        recursors = [parse_recursor(text) for text in settings.recursors]
        others = [endpoint for endpoint in recursors if endpoint not in self._endpoints]
        if len(others) < len(recursors):
            log.warning("a recursor is this very server and is left out", recursors=settings.recursors)
        self._settings = settings
        for listener in self._listeners:
            if isinstance(listener, UdpListener):
                listener.limit(settings.response_rate_limit)
        self._responder.reload(zone, Recursor(others, settings.recursor_timeout_s) if others else None)

    def stats(self) -> Stats:
        """The counters so far."""
        return self._responder.stats


def _bind_pair(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on the same port; for port 0, one that is free for both."""
    for attempt in range(_PORT_TRIES):
        udp = bind_udp(address, port, "DNS")
        try:
            return udp, bind_tcp(address, udp.getsockname()[1], "DNS")
        except OSError:
            udp.close()
            if port != 0 or attempt == _PORT_TRIES - 1:
                raise
    raise OSError("DNS: no port is free for both UDP and TCP")
