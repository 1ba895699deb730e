"""Anti-entropy: carries what this agent knows of itself to the catalog, and repairs the catalog when it says otherwise.

A shell over `agent.local.diff`, made by `agent.boot`. After start, each new connection and about each minute the catalog is
read and compared; between these a change is compared with what the catalog was left as. One write at a time, in order;
writing the same again changes nothing, so after any error the catalog is simply read again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from random import Random
from typing import Final, Protocol, TypeVar

import structlog

from chowk.agent.local.diff import Facts, applied, diff, output_only
from chowk.agent.local.state import LocalState
from chowk.core.commands import AnyCommand, Deregister
from chowk.core.errors import ChowkError, InvalidRequest, PermissionDenied, TooLarge
from chowk.core.requests import CATALOG_NODE_SERVICES, CATALOG_WRITE, Method, QueryOptions, Read, Write
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.sync")
Q = TypeVar("Q")
A = TypeVar("A")

FULL_INTERVAL_S: Final = 60.0
SCALE_FROM_NODES: Final = 128
RETRY_FIRST_S: Final = 0.5
RETRY_MAX_S: Final = 30.0
ROUNDS_MAX: Final = 3
"""How often in a row a compare may find something more to write before it waits its turn again."""


class Caller(Protocol):
    """What is needed of `agent.client.pool.ServerClient`."""

    async def call(self, method: Method[Q, A], request: Q, *, timeout_s: float = 10.0) -> A: ...
    def next_write(self, command: AnyCommand) -> Write: ...
    def on_connect(self, callback: Callable[[], None]) -> Callable[[], None]: ...


class Syncer:
    """`nodes()` is how many nodes the cluster has: full syncs become rarer as it grows past SCALE_FROM_NODES.

    `check_update_interval_s`: a check's new output, when nothing else is new, is written after half to one and a half times
    that long; 0: at once.
    """

    def __init__(
        self,
        local: LocalState,
        client: Caller,
        clock: Clock,
        *,
        rng: Random | None = None,
        check_update_interval_s: float = 300.0,
        nodes: Callable[[], int] = lambda: 1,
    ) -> None:
        self._local = local
        self._client = client
        self._clock = clock
        self._rng = rng or Random()
        self._interval_s = check_update_interval_s
        self._nodes = nodes
        self._tasks = TaskOwner("sync")
        self._wake = asyncio.Event()
        self._catalog: Facts | None = None
        self._full_at = 0.0
        self._due: dict[str, float] = {}
        self._retry_s = RETRY_FIRST_S
        self._repairing = False
        self._subscriptions: list[Callable[[], None]] = []
        self._refused: dict[str, str] = {}
        self._tags: dict[str, tuple[str, ...]] = {}

    async def start(self) -> None:
        """Begin to sync; returns at once, whether or not servers are there."""
        self._subscriptions = [self._local.on_change(self._wake.set), self._client.on_connect(self._connected)]
        self._full_at = self._clock.now()
        self._tasks.spawn(self._run(), "sync")

    async def close(self) -> None:
        """Stop; what is registered stays in the catalog."""
        for unsubscribe in self._subscriptions:
            unsubscribe()
        self._subscriptions = []
        await self._tasks.close()

    def trigger(self) -> None:
        """Write what differs from what the catalog was left as, now."""
        self._wake.set()

    def trigger_full(self) -> None:
        """Read the catalog and compare, now."""
        self._full_at = self._clock.now()
        self._wake.set()

    def reload(self, check_update_interval_s: float) -> None:
        """The configuration changed."""
        self._interval_s = check_update_interval_s

    async def leave(self) -> None:
        """Stop syncing and remove this node, with all it has, from the catalog. ChowkErrors when that failed."""
        await self.close()
        await self._client.call(
            CATALOG_WRITE, self._client.next_write(Deregister(node=self._local.node.node)), timeout_s=5.0
        )
        log.info("left the catalog", node=self._local.node.node)

    # --- the loop

    def _connected(self) -> None:
        self._retry_s = RETRY_FIRST_S
        self.trigger_full()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._sync()
                self._retry_s = RETRY_FIRST_S
                delay_s = max(0.0, min([self._full_at, *self._due.values()]) - self._clock.now())
            except ChowkError as error:
                log.warning("the catalog could not be synced; trying again", error=str(error), in_s=self._retry_s)
                self._catalog = None
                delay_s = self._retry_s * self._rng.uniform(0.5, 1.0)
                self._retry_s = min(self._retry_s * 2, RETRY_MAX_S)
                self._wake.clear()
            await self._pause(delay_s)

    async def _pause(self, delay_s: float) -> None:
        timer = self._tasks.spawn(self._ring(delay_s), "timer")
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    async def _ring(self, delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        self._wake.set()

    async def _sync(self) -> None:
        if self._catalog is None or self._clock.now() >= self._full_at:
            self._repairing = self._catalog is not None
            self._catalog = await self._read()
            self._full_at = self._clock.now() + self._full_interval_s()
            self._refused = {}
        for _round in range(ROUNDS_MAX):
            if not await self._write_differences():
                break
        self._repairing = False

    async def _read(self) -> Facts:
        request = Read(name=self._local.node.node, options=QueryOptions())
        reply = await self._client.call(CATALOG_NODE_SERVICES, request)
        return Facts(
            node=reply.node,
            services={service.id: service for service in reply.services},
            checks={check.check_id: check for check in reply.checks},
        )

    def _facts(self) -> Facts:
        return Facts(
            node=self._local.node,
            services={key: entry.service for key, entry in self._local.services.items()},
            checks={key: entry.check for key, entry in self._local.checks.items()},
        )

    async def _write_differences(self) -> bool:
        """Write what differs now; True when anything was written."""
        catalog = self._catalog
        if catalog is None:
            return False
        local = self._facts()
        wrote = False
        tags = {service_id: service.tags for service_id, service in local.services.items()}
        retagged = frozenset(
            service_id for service_id in tags if self._tags.get(service_id, tags[service_id]) != tags[service_id]
        )
        for op in diff(local, catalog, self._held(local, catalog), retagged):
            if self._refused.get(op.why) == repr(op.command):
                continue
            try:
                await self._client.call(CATALOG_WRITE, self._client.next_write(op.command))
            except (InvalidRequest, TooLarge, PermissionDenied) as error:
                log.error("the servers refuse what this agent registers", why=op.why, error=str(error))
                self._refused[op.why] = repr(op.command)
                continue
            catalog = self._catalog = applied(catalog, op.command)
            wrote = True
            if self._repairing:
                log.warning("repaired the catalog", what=op.why)
            else:
                log.info("synced", what=op.why)
        self._tags = tags
        return wrote

    def _held(self, local: Facts, catalog: Facts) -> frozenset[str]:
        """The checks whose new output may wait; notes when each wait ends."""
        now = self._clock.now()
        waiting = output_only(local, catalog) if self._interval_s > 0 else frozenset()
        due: dict[str, float] = {}
        for check_id in sorted(waiting):
            wait_s = self._interval_s / 2 + self._rng.uniform(0.0, self._interval_s)
            due[check_id] = self._due.get(check_id, now + wait_s)
        held = frozenset(check_id for check_id, at in due.items() if at > now)
        self._due = {check_id: at for check_id, at in due.items() if check_id in held}
        return held

    def _full_interval_s(self) -> float:
        """About a minute, times the number of doublings of the cluster past SCALE_FROM_NODES, plus up to as much jitter
        again as keeps agents that started together apart (a quarter).
        """
        nodes = max(1, self._nodes())
        scale = 1 if nodes <= SCALE_FROM_NODES else math.ceil(math.log2(nodes / SCALE_FROM_NODES)) + 1
        return FULL_INTERVAL_S * scale * self._rng.uniform(1.0, 1.25)
