"""What the HTTP API may reach of its agent. Filled by `agent.boot`, read by every handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

from aiohttp import web

from chowk.agent.client.pool import ServerClient
from chowk.agent.config.model import AgentConfig
from chowk.agent.views.views import Views
from chowk.core.runtime.clock import Clock


class Trigger(Protocol):
    """The part of the anti-entropy syncer that the API needs."""

    def trigger(self) -> None:
        """Sync soon."""
        ...


@dataclass(kw_only=True)
class ApiContext:
    """`config()` is the configuration in force now. `local`, `checks`, `proxies`, `leaves` are the agent's rooms of those
    names (LocalState, CheckScheduler, ProxySupervisor, LeafCache); `reload()` raises ChowkError when the files are wrong;
    `members()` gives one dict a member, in Consul's shape.
    """

    config: Callable[[], AgentConfig]
    client: ServerClient
    views: Views
    clock: Clock
    local: Any = None
    checks: Any = None
    syncer: Trigger | None = None
    proxies: Any = None
    leaves: Any = None
    reload: Callable[[], Awaitable[None]] | None = None
    leave: Callable[[], Awaitable[None]] | None = None
    members: Callable[[], Sequence[dict[str, Any]]] = tuple
    rng: Random = field(default_factory=Random)


CONTEXT: Final = web.AppKey("context", ApiContext)
"""Where the application keeps it."""
