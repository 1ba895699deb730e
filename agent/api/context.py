"""What the HTTP API may reach of its agent. Filled by `agent.boot`, read by every handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web

from chowk.agent.api.known_instances import KnownInstances
from chowk.agent.api.shared_reads import SharedReads
from chowk.agent.checks.scheduler import CheckScheduler
from chowk.agent.client.pool import ServerClient
from chowk.agent.config.model import AgentConfig
from chowk.agent.gossip.event_log import ClusterEvent, EventLog
from chowk.agent.gossip.rotation import KeyringReply
from chowk.agent.local.state import LocalState
from chowk.agent.proxies.leaves import LeafCache
from chowk.agent.views.views import Views
from chowk.core.records.coordinate import Coordinate
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.loop_lag import LagTally

if TYPE_CHECKING:
    from chowk.agent.proxies.supervisor import ProxySupervisor


class Trigger(Protocol):
    """The part of the anti-entropy syncer that the API needs."""

    def trigger(self) -> None:
        """Sync soon."""
        ...


class GossipPort(Protocol):
    """The part of gossip that the API needs: `agent.gossip.driver.Gossip`."""

    @property
    def events(self) -> EventLog:
        """The user events that this agent took notice of."""
        ...

    def stats(self) -> dict[str, str]:
        """Counters and gauges, for `chowk info`."""
        ...

    def coordinate(self) -> Coordinate | None:
        """Where this agent is in the network; None where it is not to know."""
        ...

    async def join(self, addresses: Sequence[str]) -> int:
        """Join the clusters at these addresses; how many answered. ChowkError naming each that did not, when none did."""
        ...

    async def force_leave(self, name: str, prune: bool) -> None:
        """Take a failed member for one that left; forget it, with `prune`. NotFound when nobody knows it."""
        ...

    async def fire(
        self, name: str, payload: bytes, *, node: str = "", service: str = "", tag: str = ""
    ) -> ClusterEvent:
        """Fire a user event. InvalidRequest when it is too long or makes no sense."""
        ...

    async def change_keys(self, operation: str, key: str = "", *, local_only: bool = False) -> KeyringReply:
        """List, install, use or remove a key (base64) at every member. ChowkError naming each that did not do it."""
        ...


@dataclass(kw_only=True)
class ApiContext:
    """`config()` is the configuration in force now; `reload()` raises ChowkError when the files are wrong; `members()`
    gives one dict a member, in Consul's shape; `dns()` the counters of `dns.responder.Stats`. What is
    None is not there: its endpoints say so.
    """

    config: Callable[[], AgentConfig]
    client: ServerClient
    views: Views
    clock: Clock
    local: LocalState
    checks: CheckScheduler
    leaves: LeafCache
    syncer: Trigger | None = None
    proxies: ProxySupervisor | None = None
    reload: Callable[[], Awaitable[None]] | None = None
    leave: Callable[[], Awaitable[None]] | None = None
    gossip: GossipPort | None = None
    members: Callable[[], Sequence[dict[str, Any]]] = tuple
    certificate_ends: Callable[[], float | None] = lambda: None
    dns: Callable[[], dict[str, int]] = dict
    rng: Random = field(default_factory=Random)
    lag: LagTally = field(default_factory=LagTally)
    shared: SharedReads = field(init=False)
    known: KnownInstances = field(init=False)

    def __post_init__(self) -> None:
        self.shared = SharedReads(self.rng)
        self.known = KnownInstances(self.client)


CONTEXT: Final = web.AppKey("context", ApiContext)
"""Where the application keeps it."""
