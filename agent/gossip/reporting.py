"""Tells the server of this host who is in the cluster and which keys hold; and the cluster, by a tag, which one the server
is of. Made by `agent.boot` on agents that run a server.

A report is whole: one that is lost is mended by the next. Names that were forgotten are told until a report has arrived.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import structlog

from chowk.agent.gossip.driver import Gossip
from chowk.core.cluster_requests import CLUSTER, KEYS_REPORT, MEMBERS_REPORT, KeysReport, MembersReport
from chowk.core.errors import ChowkError
from chowk.core.records.member import CLUSTER_TAG
from chowk.core.requests import Empty, Method
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.gossip")

INTERVAL_S: Final = 10.0
"""A report is sent at least so often."""

FOUNDING_INTERVAL_S: Final = 1.0
"""The same while the server is in no cluster yet: soon after it is, all shall know in which."""

SPACING_S: Final = 0.05
"""Between two reports: the first change is told at once, those that follow it together."""

RETRY_S: Final = 0.5
TIMEOUT_S: Final = 5.0
REAPED_MAX: Final = 4096
"""Names kept while no server answers; the oldest are dropped."""


class ServerCalls(Protocol):
    """The part of the agent's RPC client that is needed."""

    def on_connect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after each new connection; returns what ends that."""
        ...

    async def call(self, method: Method[Any, Any], request: Any, *, timeout_s: float) -> Any:
        """Call and await the answer. ChowkError."""
        ...


class MemberReporter:
    """Reports at each connection and change, and every INTERVAL_S."""

    def __init__(self, gossip: Gossip, client: ServerCalls, clock: Clock) -> None:
        self._gossip = gossip
        self._client = client
        self._clock = clock
        self._tasks = TaskOwner("member-reports")
        self._reaped: deque[str] = deque(maxlen=REAPED_MAX)
        self._due = asyncio.Event()
        self._told_keys: tuple[str, ...] | None = None
        self._forget: list[Callable[[], None]] = []

    async def learn_cluster(self) -> str:
        """Ask the server which cluster it is of, and tell the others from now on; "" while it is in none. ChowkError."""
        reply = await self._client.call(CLUSTER, Empty(), timeout_s=TIMEOUT_S)
        if reply.id:
            self._gossip.set_tag(CLUSTER_TAG, reply.id)
        return str(reply.id)

    async def start(self) -> None:
        """Begin."""
        self._forget = [
            self._gossip.changed.add(lambda _: self._due.set()),
            self._gossip.reaped.add(self._reaped.append),
            self._gossip.on_keys(lambda _: self._due.set()),
            self._client.on_connect(self._connected),
        ]
        self._tasks.spawn(self._report_for_ever(), "report")

    async def close(self) -> None:
        """End."""
        for forget in self._forget:
            forget()
        await self._tasks.close()

    def _connected(self) -> None:
        self._told_keys = None
        self._due.set()

    async def _report_for_ever(self) -> None:
        while True:
            self._due.clear()
            try:
                await self._report()
                cluster = await self.learn_cluster()
            except ChowkError as error:
                log.debug("the server could not be told of the members", error=str(error))
                await self._clock.sleep(RETRY_S)
                continue
            await self._clock.sleep(SPACING_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_S if cluster else FOUNDING_INTERVAL_S):
                    await self._due.wait()

    async def _report(self) -> None:
        keys = self._gossip.keys()
        if keys != self._told_keys:
            await self._client.call(KEYS_REPORT, KeysReport(keys=keys), timeout_s=TIMEOUT_S)
            self._told_keys = keys
        reaped = tuple(self._reaped)
        report = MembersReport(members=tuple(self._gossip.members()), reaped=reaped)
        await self._client.call(MEMBERS_REPORT, report, timeout_s=TIMEOUT_S)
        for _ in reaped:
            self._reaped.popleft()
