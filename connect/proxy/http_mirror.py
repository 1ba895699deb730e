"""A copy of a request for another cluster: sent, its answer read and dropped, its failure nobody's.

Made by outbound exchanges. Only requests whose whole body is kept (http_upload.KEPT_BYTES_MAX) are mirrored: half a body
would be another request. No more than MIRRORS_MAX are on their way in one listener; what is over is dropped and counted.
"""

from __future__ import annotations

import asyncio
from typing import Final

from chowk.connect.balance.hosts import Host, Outcome
from chowk.connect.http1.body import Span
from chowk.connect.http1.heads import ResponseHead
from chowk.connect.limits.gate import Gate
from chowk.connect.proxy.clusters import LiveCluster
from chowk.connect.proxy.http_client import ClientConnection
from chowk.connect.proxy.http_faults import Fault
from chowk.connect.proxy.http_pool import Pool, PoolFull
from chowk.connect.proxy.state import ProxyState

SHADOW: Final = b"-shadow"
"""Behind the host that a copy names, so that an application can tell it from the request (as Envoy does)."""
MIRRORS_MAX: Final = 128
MIRROR_S_MAX: Final = 15.0
"""When its cluster has no timeout of its own."""


class Mirrored:
    """One copy. `gate` is entered by who makes it, and left here."""

    def __init__(self, state: ProxyState, gate: Gate, cluster: LiveCluster, method: str, pieces: list[Span]) -> None:
        self._state = state
        self._gate = gate
        self._cluster = cluster
        self._method = method
        self._pieces = pieces
        self._host: Host | None = None
        self._pool: Pool | None = None
        self._connection: ClientConnection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0
        self._status = 0

    def start(self, host: Host, pool: Pool) -> None:
        """Send it to `host`."""
        timeout_s = self._cluster.cluster.request_timeout_s or MIRROR_S_MAX
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._over, Outcome.GATEWAY)
        self._host, self._pool = host, pool
        self._cluster.balancer.started(host)
        try:
            connection = pool.acquire(self)
        except PoolFull:
            self._over(Outcome.CANCELLED)
            return
        if connection is not None:
            self.connected(connection)

    def connected(self, connection: ClientConnection) -> None:
        """Called by the pool."""
        self._connection = connection
        self._began = self._state.clock.now()
        connection.call(self, self._method, self._pieces)

    def unreachable(self, reason: str) -> None:  # noqa: ARG002
        """Called by the pool."""
        self._over(Outcome.UNREACHABLE)

    def interim(self, response: ResponseHead) -> None:
        """Called by the connection."""

    def answered(self, response: ResponseHead, spans: list[Span], done: bool) -> None:
        """Called by the connection."""
        self._status = response.status
        self.content(spans, done)

    def content(self, spans: list[Span], done: bool) -> None:  # noqa: ARG002
        """Called by the connection."""
        if done:
            self._over(outcome_of(self._status), reusable=True)

    def switched(self, response: ResponseHead, rest: bytes) -> None:  # noqa: ARG002
        """Called by the connection."""
        self._over(Outcome.OK)

    def broken(self, fault: Fault, detail: str) -> None:  # noqa: ARG002
        """Called by the connection."""
        self._connection = None
        self._over(Outcome.GATEWAY)

    def upload_slow(self, slow: bool) -> None:
        """Called by the connection; all there is to send is sent."""

    def _over(self, outcome: Outcome, *, reusable: bool = False) -> None:
        host, self._host = self._host, None
        if host is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._pool is not None:
            self._pool.withdraw(self)
        now = self._state.clock.now()
        self._cluster.balancer.finished(
            host, now, self._state.rng, outcome, now - self._began if self._status else None
        )
        self._gate.leave()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.end_call(reusable)


def outcome_of(status: int) -> Outcome:
    """What an answer tells the balancer."""
    if status < 500:
        return Outcome.OK
    return Outcome.GATEWAY if status in (502, 503, 504) else Outcome.ERROR
