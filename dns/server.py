"""The DNS server: UDP and TCP listeners at each address over one responder. Started by the agent, and by its DNS workers."""

from __future__ import annotations

import random
from collections.abc import Sequence

import structlog

from chowk.core.runtime.clock import Clock
from chowk.dns.lookup import Lookup
from chowk.dns.recursor import Recursor, parse_recursor
from chowk.dns.responder import Responder, Stats
from chowk.dns.settings import DnsSettings, make_zone
from chowk.dns.sockets import DnsSockets, bind_sockets
from chowk.dns.tcp import TcpListener
from chowk.dns.udp import UdpListener

log = structlog.get_logger("chowk.dns")


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
        self._rng = rng or random.Random()
        self._responder = Responder(zone, None, lookup, clock, self._rng)
        self._udp: list[list[UdpListener]] = []
        self._tcp: list[TcpListener] = []
        self._left: set[int] = set()
        self.sockets = DnsSockets((), ())
        self.port = 0

    async def start(self, addresses: Sequence[str], port: int, shares: int = 1) -> None:
        """Listen on each address, in `shares` that can be left to others. PortTaken or OSError when one address cannot be
        bound; then none is."""
        await self.listen(bind_sockets(addresses, port, shares))

    async def listen(self, sockets: DnsSockets) -> None:
        """Listen on these, which are closed with this server."""
        self.sockets = sockets
        self.port = sockets.port
        self._endpoints = {sock.getsockname()[:2] for sock in sockets.tcp}
        self.reload(self._settings)
        limit = self._settings.response_rate_limit
        self._udp = [
            [UdpListener(each, self._responder, self._clock, limit) for each in share] for share in sockets.udp
        ]
        self._tcp = [TcpListener(each, self._responder) for each in sockets.tcp]
        for share in self._udp:
            for listener in share:
                await listener.start()
        for accepting in self._tcp:
            await accepting.start()

    def leave(self, share: int) -> None:
        """Read this share of UDP no more, since another process does. When all are left, TCP is too."""
        self._left.add(share)
        for listener in self._udp[share]:
            listener.pause()
        if len(self._left) == len(self._udp):
            for accepting in self._tcp:
                accepting.pause()

    async def take(self, share: int) -> None:
        """Read this share again."""
        self._left.discard(share)
        for listener in self._udp[share]:
            listener.resume()
        for accepting in self._tcp:
            await accepting.start()

    async def close(self) -> None:
        """Stop listening, close all connections, give up pending queries."""
        for share in self._udp:
            for listener in share:
                await listener.close()
        for accepting in self._tcp:
            await accepting.close()
        self._udp, self._tcp = [], []
        await self._responder.close()

    def reload(self, settings: DnsSettings) -> None:
        """Answer by `settings` from now on; listeners stay. ValueError when they cannot be, and the old ones stay."""
        zone = make_zone(settings, self._node_name, self._datacenter)
        recursors = [parse_recursor(text) for text in settings.recursors]
        others = [endpoint for endpoint in recursors if endpoint not in self._endpoints]
        if len(others) < len(recursors):
            log.warning("a recursor is this very server and is left out", recursors=settings.recursors)
        self._settings = settings
        for share in self._udp:
            for listener in share:
                listener.limit(settings.response_rate_limit)
        rng = self._rng if settings.recursor_strategy == "random" else None
        self._responder.reload(zone, Recursor(others, settings.recursor_timeout_s, rng) if others else None)

    def stats(self) -> Stats:
        """The counters so far."""
        return self._responder.stats
