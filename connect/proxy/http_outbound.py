"""HTTP at an upstream's local listener: the application's requests find their route, and by it an instance.

Held by `Upstream`; makes an `OutboundExchange` for each request, and keeps pools of connections to instances. Routes,
clusters and endpoints of a newer snapshot count from the next request on; connections stay.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from chowk.connect.balance.hosts import Host
from chowk.connect.http1.body import Span
from chowk.connect.http1.forwarding import Passage
from chowk.connect.http1.heads import RequestHead
from chowk.connect.limits.gate import Gate
from chowk.connect.proxy.clusters import LiveCluster
from chowk.connect.proxy.http_exchange import Relay
from chowk.connect.proxy.http_faults import Fault
from chowk.connect.proxy.http_mirror import MIRRORS_MAX, Mirrored
from chowk.connect.proxy.http_observation import note_unread
from chowk.connect.proxy.http_outbound_exchange import OutboundExchange
from chowk.connect.proxy.http_pool import Pool
from chowk.connect.proxy.http_server import ServerConnection, address_of
from chowk.connect.proxy.links import Pipe
from chowk.connect.proxy.wires import PlainWire, TlsWire
from chowk.connect.routing.router import Router
from chowk.connect.snapshot import HttpRoute, UpstreamSnapshot
from chowk.connect.stats.edges import OUTBOUND, Edge

if TYPE_CHECKING:
    from chowk.connect.proxy.upstream import Upstream

HTTP = "http"
"""The protocol that is understood; all others are carried as TCP."""


class HttpOutbound:
    """`mirrors_dropped_total` counts copies that were not sent, for want of room or of a body that is kept whole."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.state = upstream.state
        self.router = Router(())
        self._routes: tuple[HttpRoute, ...] = ()
        self.mirrors = Gate(MIRRORS_MAX)
        self.mirrors_dropped_total = 0
        self.tunnels: dict[Pipe, Relay] = {}
        self._connections: dict[ServerConnection, str] = {}
        self._pools: dict[Host, Pool] = {}
        self._edges: dict[tuple[str, str], Edge] = {}
        self.follow(upstream.snapshot)

    def follow(self, snapshot: UpstreamSnapshot) -> None:
        """A newer snapshot. Connections of a listener that speaks HTTP no longer end with their requests."""
        if snapshot.routes != self._routes:
            self._routes, self.router = snapshot.routes, Router(snapshot.routes)
            if self.router.broken:
                self.state.warn(
                    "routes that cannot be used", upstream=snapshot.name, routes=", ".join(self.router.broken)
                )
        wanted = {host for live in self.upstream.clusters.all() for host in live.balancer.hosts}
        for host in [host for host in self._pools if host not in wanted]:
            self._pools.pop(host).retire()
        self._edges.clear()
        if snapshot.protocol != HTTP:
            self.drain()

    def drain(self) -> None:
        """Take no further requests on the connections there are."""
        for connection in list(self._connections):
            connection.drain()

    def retire(self) -> None:
        """No snapshot names the upstream any more."""
        self.drain()
        while self._pools:
            self._pools.popitem()[1].retire()

    def serve(self, wire: PlainWire) -> None:
        """A connection of the application, let in already."""
        passage = Passage(forwarded_proto=b"http", authority=self.upstream.snapshot.name.encode())
        connection = ServerConnection(self.state, wire, self, passage)
        self._connections[connection] = address_of(wire)

    # --- the handler of its connections

    def exchange(self, connection: ServerConnection, request: RequestHead) -> OutboundExchange:
        """Called by the connection."""
        return OutboundExchange(self, connection, request)

    def refused(self, connection: ServerConnection, fault: Fault, status: int, detail: str) -> None:  # noqa: ARG002
        """Called by the connection."""
        self.state.warn("request refused", upstream=self.upstream.snapshot.name, reason=detail)
        self.edge(self.upstream.snapshot.name, "").done(status, 0.0, fault.name)
        own = self.state.snapshot.service if self.state.snapshot is not None else ""
        note_unread(self.state, OUTBOUND, own, self.upstream.snapshot.name, fault, status)

    def closed(self, connection: ServerConnection) -> None:
        """Called by the connection."""
        if self._connections.pop(connection, None) is not None:
            self.upstream.left()

    # --- for exchanges

    def address(self, connection: ServerConnection) -> str:
        """Where the application's connection comes from."""
        return self._connections.get(connection, "")

    def edge(self, service: str, route: str) -> Edge:
        """The counters of this route to this service."""
        found = self._edges.get((service, route))
        if found is None:
            found = self._edges[(service, route)] = self.state.edges.edge(OUTBOUND, service, route)
        return found

    def mirror(self, cluster: str, method: str, pieces: list[Span]) -> None:
        """Send a copy of a request to `cluster`, or count it as dropped. No pieces: too large to be kept whole."""
        live = self.upstream.clusters.get(cluster)
        host = None if live is None else live.balancer.pick(self.state.clock.now(), self.state.rng)
        if live is None or host is None or not pieces or not self.mirrors.enter():
            self.mirrors_dropped_total += 1
            return
        Mirrored(self.state, self.mirrors, live, method, pieces).start(host, self.pool(live, host))

    def pool(self, live: LiveCluster, host: Host) -> Pool:
        """Connections to one instance."""
        pool = self._pools.get(host)
        if pool is None:
            pool = self._pools[host] = Pool(
                self.state,
                lambda: self._dial(live, host),
                idle_s=self.state.settings.http_pool_idle_s,
                tally=self.upstream.tally,
                room=live.breakers.connections,
                pending=live.breakers.pending,
                make_room=lambda: self._make_room(live),
                context=self._context,
            )
        return pool

    async def _dial(self, live: LiveCluster, host: Host) -> TlsWire:
        try:
            wire = await self.upstream.dialler.dial(host, live.cluster.connect_timeout_s)
        except (OSError, TimeoutError):
            self.upstream.dial_failures_total += 1
            raise
        live.balancer.reached(host)
        return wire

    def _context(self) -> ssl.SSLContext | None:
        credentials = self.state.usable_credentials(self.upstream.snapshot.name)
        return credentials.client if credentials is not None else None

    def _make_room(self, live: LiveCluster) -> None:
        """A cluster has all the connections it may: those that wait dial now if there is room, else idle ones make it."""
        pools = [self._pools[host] for host in live.balancer.hosts if host in self._pools]
        room = live.breakers.connections
        if room.inside < room.limit:
            for pool in pools:
                pool.dial_more()
        elif live.breakers.pending.inside:
            for pool in pools:
                if pool.drop_idle():
                    return
