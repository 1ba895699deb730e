"""What the HTTP API may reach of its agent. Filled by `agent.boot`, read by every handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web

from chowk.agent.checks.scheduler import CheckScheduler
from chowk.agent.client.pool import ServerClient
from chowk.agent.config.model import AgentConfig
from chowk.agent.local.state import LocalState
from chowk.agent.proxies.leaves import LeafCache
from chowk.agent.views.views import Views
from chowk.core.runtime.clock import Clock

if TYPE_CHECKING:
    from chowk.agent.proxies.supervisor import ProxySupervisor


class Trigger(Protocol):
    """The part of the anti-entropy syncer that the API needs."""

    def trigger(self) -> None:
        """Sync soon."""
        ...


@dataclass(kw_only=True)
class ApiContext:
    """`config()` is the configuration in force now; `reload()` raises ChowkError when the files are wrong; `members()`
    gives one dict a member, in Consul's shape. What is None is not there: its endpoints say so.
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
    members: Callable[[], Sequence[dict[str, Any]]] = tuple
    rng: Random = field(default_factory=Random)


CONTEXT: Final = web.AppKey("context", ApiContext)
"""Where the application keeps it."""
