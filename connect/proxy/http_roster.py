"""All HTTP connections of one proxy: looked at from time to time for what takes too long, and ended when the proxy stops.

One task looks at all of them (`run`), so that no connection needs a timer of its own. Held by `ProxyState`.
"""

from __future__ import annotations

from typing import Final, Protocol

from chowk.connect.limits.gate import Gate
from chowk.connect.proxy.heap import Ebb, give_back
from chowk.core.runtime.clock import Clock

IDLE_MAX: Final = 2048
"""Idle connections to servers of the whole process; of more, those that become idle are closed."""


class Served(Protocol):
    """A connection on which a client asks."""

    def look(self, now: float) -> None:
        """End what takes too long."""

    def drain(self) -> None:
        """Take no further request."""

    def stop(self) -> None:
        """End now."""


class Pooled(Protocol):
    """Connections on which the proxy asks."""

    def look(self, now: float) -> None:
        """Close what is idle for too long."""

    def retire(self) -> None:
        """Close what is idle, and later what is not."""


class Roster:
    """`served` and `pools` are entered by themselves, in the order they came."""

    def __init__(self) -> None:
        self.served: dict[Served, None] = {}
        self.pools: dict[Pooled, None] = {}
        self.idle = Gate(IDLE_MAX)
        self._ebb = Ebb()

    async def run(self, clock: Clock, every_s: float) -> None:
        """Look at all, for ever, and give memory back after a crowd."""
        while True:
            await clock.sleep(every_s)
            self.look(clock.now())
            if self._ebb.over(len(self.served)):
                give_back()

    def look(self, now: float) -> None:
        """Look at all."""
        for connection in list(self.served):
            connection.look(now)
        for pool in list(self.pools):
            pool.look(now)

    def drain(self) -> None:
        """Requests in work may end; nothing new begins."""
        for connection in list(self.served):
            connection.drain()

    def stop(self) -> None:
        """End everything."""
        for connection in list(self.served):
            connection.stop()
        for pool in list(self.pools):
            pool.retire()
