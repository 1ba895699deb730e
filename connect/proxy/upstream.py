"""A local listener of one upstream: the application's bytes, over mutual TLS, to one healthy instance of another service.

Trust boundary: nothing is sent to an instance that has not proven itself (see `dialler`).
Each connection goes to a cluster by the weights of its splits, and there to the instance that the balancer picks. One that
cannot be dialled is passed over for the next; once bytes may have been sent nothing is tried again. Such a second dial is
work for nobody's application, so no retry budget limits it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from chowk.connect.balance.hosts import Host, Outcome
from chowk.connect.proxy.clusters import Clusters, LiveCluster
from chowk.connect.proxy.dialler import DialError, Dialler
from chowk.connect.proxy.http_outbound import HTTP, HttpOutbound
from chowk.connect.proxy.links import Pipe, PlainLink, TlsLink
from chowk.connect.proxy.listener import Place
from chowk.connect.proxy.state import ProxyState
from chowk.connect.proxy.tally import Tally
from chowk.connect.proxy.wires import PlainWire
from chowk.connect.snapshot import Target, UpstreamSnapshot
from chowk.connect.stats.edges import OUTBOUND

ATTEMPTS_MAX: Final = 3
EARLY_RESET_S: Final = 1.0
"""A connection that the mesh cuts before this, without a byte of answer, counts as a failure of the instance."""


class AppLink(PlainLink):
    """One connection from the local application."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        self._upstream = upstream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        super().connection_made(transport)
        self._upstream.accepted(self)


class HttpAppLink(PlainWire):
    """One connection from the local application that speaks HTTP."""

    dialled = False

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        self._upstream = upstream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        super().connection_made(transport)
        if self._upstream.entered(self):
            self._upstream.http.serve(self)


class Upstream:
    """Lives as long as snapshots name it; `update` hands it its newest description."""

    def __init__(self, state: ProxyState, snapshot: UpstreamSnapshot, targets: Mapping[str, Target]) -> None:
        self.state = state
        self.snapshot = snapshot
        self.clusters = Clusters(snapshot, targets, state.rng, self._tell_ejected)
        self.tally = Tally()
        self.dial_failures_total = 0
        self.dialler = Dialler(state)
        self.http = HttpOutbound(self)

    def update(self, snapshot: UpstreamSnapshot, targets: Mapping[str, Target]) -> None:
        """Endpoints, identity or limits changed; open connections stay."""
        self.snapshot = snapshot
        self.clusters.update(snapshot, targets, self.state.rng)
        self.dialler.forget_gone()
        self.http.follow(snapshot)

    def retire(self) -> None:
        """No snapshot names it any more; what it carries may end."""
        self.http.retire()

    @property
    def place(self) -> Place:
        """Where the snapshot wants it to listen."""
        upstream = self.snapshot
        if upstream.bind_socket_path:
            return Place(path=upstream.bind_socket_path, mode=upstream.bind_socket_mode)
        return Place(upstream.bind_address, upstream.bind_port)

    def make_link(self) -> PlainLink:
        """The protocol of a new connection."""
        return HttpAppLink(self) if self.snapshot.protocol == HTTP else AppLink(self)

    def accepted(self, plain: PlainLink) -> None:
        """The application wants to reach the upstream. A crowd of newcomers is begun as slowly as it can be secured."""
        if self.entered(plain):
            self.state.line.add(lambda: self._begin(plain))

    def _begin(self, plain: PlainLink) -> None:
        self.state.tasks.spawn(self._join(plain), f"upstream {self.snapshot.name}")

    def entered(self, plain: PlainLink) -> bool:
        """Whether there is room for one more connection of the application; else it is reset."""
        state = self.state
        if not state.connections.enter():
            state.warn("too many connections", limit=state.connections.limit)
            plain.reset()
            return False
        self.tally.open += 1
        self.tally.total += 1
        return True

    def left(self) -> None:
        """A connection that had `entered` is gone."""
        self.tally.open -= 1
        self.state.connections.leave()

    async def _join(self, plain: PlainLink) -> None:
        joined, cluster = False, None
        try:
            cluster = self._enter_cluster()
            host, tls = await self._dial_any(cluster)
            began = self.state.clock.now()
            pipe = Pipe(tls, plain, self.tally, lambda pipe: self._ended(pipe, cluster, host, began))
            self.state.pipes.add(pipe)
            joined = True
            self.state.edges.peer(OUTBOUND, host.target.service).opened += 1
            pipe.start()
        except DialError as error:
            self.state.warn("upstream cannot be reached", upstream=self.snapshot.name, reason=str(error))
            self.state.edges.peer(OUTBOUND, self.snapshot.name).failed += 1
        finally:
            if not joined:
                self._leave(cluster)
                plain.reset()

    def _enter_cluster(self) -> LiveCluster:
        """The cluster of a new connection, which is counted there."""
        routes = self.snapshot.routes
        cluster = self.clusters.drawn(routes[-1].splits if routes else (), self.state.rng)
        if cluster is None:
            raise DialError("no route")
        if not cluster.breakers.connections.enter():
            raise DialError(f"too many connections to {cluster.cluster.name}")
        return cluster

    async def _dial_any(self, cluster: LiveCluster) -> tuple[Host, TlsLink]:
        """The first instance that answers, of at most ATTEMPTS_MAX different ones. It counts as `started`."""
        if not cluster.breakers.pending.enter():
            raise DialError(f"too many connections waiting for {cluster.cluster.name}")
        try:
            return await self._dial_some(cluster)
        finally:
            cluster.breakers.pending.leave()

    async def _dial_some(self, cluster: LiveCluster) -> tuple[Host, TlsLink]:
        state, balancer = self.state, cluster.balancer
        tried: list[Host] = []
        reason = ""
        for _attempt in range(ATTEMPTS_MAX):
            if state.usable_credentials(self.snapshot.name) is None:
                raise DialError("no valid leaf certificate")
            host = balancer.pick(state.clock.now(), state.rng, exclude=tried)
            if host is None:
                reason = reason or balancer.why_none(tried)
                break
            tried.append(host)
            balancer.started(host)
            outcome = Outcome.CANCELLED
            try:
                tls = await self.dialler.dial(host, cluster.cluster.connect_timeout_s)
                outcome = Outcome.OK
            except (OSError, TimeoutError) as error:
                endpoint = host.endpoint
                reason = f"{endpoint.key} at {endpoint.address}:{endpoint.port}: {str(error) or 'timeout'}"
                self.dial_failures_total += 1
                outcome = Outcome.UNREACHABLE
                continue
            finally:
                if outcome is not Outcome.OK:
                    balancer.finished(host, state.clock.now(), state.rng, outcome)
            balancer.reached(host)
            return host, tls
        raise DialError(reason)

    def _ended(self, pipe: Pipe, cluster: LiveCluster, host: Host, began: float) -> None:
        state = self.state
        state.pipes.discard(pipe)
        now = state.clock.now()
        if pipe.answered or not pipe.cut_by_mesh:
            outcome = Outcome.OK if pipe.answered else Outcome.CANCELLED
        else:
            outcome = Outcome.GATEWAY if now - began < EARLY_RESET_S else Outcome.CANCELLED
            state.edges.peer(OUTBOUND, host.target.service).failed += 1
        cluster.balancer.finished(host, now, state.rng, outcome)
        self._leave(cluster)

    def _tell_ejected(self, host: Host, out_s: float) -> None:
        endpoint = host.endpoint
        self.state.warn(
            "an instance is left out",
            upstream=self.snapshot.name,
            instance=endpoint.key,
            address=f"{endpoint.address}:{endpoint.port}",
            why=host.why,
            for_s=round(out_s, 1),
        )

    def _leave(self, cluster: LiveCluster | None) -> None:
        if cluster is not None:
            cluster.breakers.connections.leave()
        self.left()
