"""Peers: the outside of the room. Made by `server.consensus` when a server has a way to others."""

from __future__ import annotations

import random

from chowk.core.runtime.clock import Clock
from chowk.server.driver.engine import Engine
from chowk.server.peers.arrivals import Arrivals
from chowk.server.peers.formation import Formation
from chowk.server.peers.inbox import Inbox
from chowk.server.peers.local import Local
from chowk.server.peers.messages import RAFT_FOUND, RAFT_MESSAGES, RAFT_SNAPSHOT, RAFT_STATUS
from chowk.server.peers.promises import Promises
from chowk.server.peers.transport import PeerTransport
from chowk.server.port import PeerNetwork, PeerRelease
from chowk.server.raft.records import Member


class Peers:
    """`transport` is the engine's. `start` when the engine has begun; `close` before it ends."""

    def __init__(
        self, engine: Engine, member: Member, expect: int, network: PeerNetwork, clock: Clock, rng: random.Random
    ) -> None:
        self._engine = engine
        self._local = local = Local(engine, member, expect, network, clock)
        self._promises = Promises(engine, member, expect)
        self.transport = PeerTransport(local, rng)
        self._formation = Formation(local, self._promises, rng)
        inbox = Inbox(local, self.transport, self._promises)
        endpoints = network.endpoints
        endpoints.serve_notice(RAFT_MESSAGES, inbox.messages)
        endpoints.serve(RAFT_STATUS, inbox.status)
        endpoints.serve(RAFT_FOUND, self._formation.found)
        endpoints.serve(RAFT_SNAPSHOT, Arrivals(local, inbox, self.transport).chunk)

    async def start(self) -> None:
        """Hear and be heard; found a cluster if there is none. StorageError."""
        await self._promises.load()
        if self._engine.is_blank:
            self._engine.tasks.spawn(self._formation.run(), "formation")

    async def close(self) -> None:
        """End every connection to the others."""
        await self.transport.close()

    def releases(self) -> tuple[PeerRelease, ...]:
        """What the other members run, as far as they said."""
        return self._local.releases()

    def counters(self) -> dict[str, str]:
        """Counters of what was sent, received and refused."""
        refused = {f"refused_{reason}": count for reason, count in self._local.refusals.counts.items()}
        return {name: str(count) for name, count in sorted({**self._local.counts, **refused}.items())}
