"""One connection to a server, the best that can be had: dialled for ever, moved when there is a better one. Used by `pool`.

A dial that is not answered within STAGGER_S is joined by one to the next server, and the first answer wins (the idea of RFC
8305): a frozen or vanished server costs a fifth of a second, not a timeout. A connection that is left for another is
drained: its calls end where they began, its subscriptions begin anew on the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import structlog

from chowk.agent.client.roster import OWN, SERVERS_MAX, Roster
from chowk.core import errors
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.identity import ClusterIdentity
from chowk.core.runtime.rpc.listener import dial_unix
from chowk.core.runtime.rpc.tcp import dial_tcp
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.client")

DIAL_TIMEOUT_S: Final = 3.0
STAGGER_S: Final = 0.2
DIAL_RETRY_FIRST_S: Final = 0.05
DIAL_RETRY_MAX_S: Final = 2.0
REBALANCE_S: Final = (120.0, 180.0)
"""How long an agent without a server of its own stays with one, so that load spreads after servers came and went."""

OWN_RETRY_S: Final = (1.0, 2.0)
"""How often the own server is tried while another is used."""

DRAIN_S: Final = 10.0
DRAINING_MAX: Final = 4
"""Connections that are being left; beyond that the oldest is cut off."""

MOVE_INTERVAL_S: Final = 1.0


class ServerLink:
    """`connection` is the one in use, None while no server can be reached; `server` says whose."""

    def __init__(
        self, path: Path | None, clock: Clock, rng: Random, identity: ClusterIdentity | None, told: Callable[[], None]
    ) -> None:
        self._path = path
        self._clock = clock
        self._rng = rng
        self._identity = identity
        self._told = told
        self._roster = Roster(rng, has_own=path is not None)
        self._tasks = TaskOwner("client")
        self._draining: list[RpcConnection] = []
        self._usable = asyncio.Event()
        self._lost = asyncio.Event()
        self._changed = asyncio.Event()
        self._move = asyncio.Event()
        self._said: dict[str, str] = {}
        self.connection: RpcConnection | None = None
        self.server = ""
        self.problem = ""
        """Why the last server that was dialled would not have us; "" when none said anything."""
        self.lost_at_s: float | None = clock.now()

    async def start(self) -> None:
        """Begin to dial; returns at once."""
        self._tasks.spawn(self._keep_connected(), "dial")
        self._tasks.spawn(self._improve(), "improve")
        self._tasks.spawn(self._leave(), "leave")

    async def close(self) -> None:
        """Let go of every connection."""
        await self._tasks.close()
        left = [*self._draining, *([self.connection] if self.connection is not None else [])]
        self.connection = None
        self._usable.clear()
        for connection in left:
            await connection.close()

    def set_servers(self, addresses: tuple[str, ...]) -> None:
        """The servers that are alive now, as `host:port`."""
        self._roster.set(addresses)
        self._changed.set()
        if self.connection is not None:
            if self._roster.has_choice:
                self.connection.watch()
            if self.server not in self._roster:
                self._move.set()

    @property
    def has_choice(self) -> bool:
        """Whether there is another server than the one in use."""
        return self._roster.has_choice

    def leave(self) -> None:
        """The server in use cannot do its work: use another, if there is one."""
        self._move.set()

    async def wait(self, timeout_s: float | None) -> RpcConnection:
        """The connection, once there is one. Unavailable after `timeout_s`."""
        if self.connection is not None and self.connection.closed:
            self._lose(self.connection)
        if self.connection is None:
            try:
                async with asyncio.timeout(timeout_s if timeout_s is None else max(0.0, timeout_s)):
                    await self._usable.wait()
            except TimeoutError:
                pass
        if self.connection is None:
            raise errors.Unavailable("no server can be reached" + (f": {self.problem}" if self.problem else ""))
        return self.connection

    # --- one connection

    async def _keep_connected(self) -> None:
        delay_s = DIAL_RETRY_FIRST_S
        while True:
            self._changed.clear()
            found = await self._race(self._roster.order(self._clock.now()))
            if found is not None:
                delay_s = DIAL_RETRY_FIRST_S
                self._adopt(*found)
                await self._lost.wait()
                continue
            await self._pause(delay_s * self._rng.uniform(0.5, 1.0))
            delay_s = min(delay_s * 2, DIAL_RETRY_MAX_S)

    async def _pause(self, seconds: float) -> None:
        sleeping = self._tasks.spawn(self._clock.sleep(seconds), "pause")
        changing = self._tasks.spawn(self._changed.wait(), "changed")
        try:
            await asyncio.wait((sleeping, changing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            changing.cancel()

    def _adopt(self, server: str, connection: RpcConnection) -> None:
        before = self.connection
        self.connection, self.server, self.problem, self.lost_at_s = connection, server, "", None
        self._lost.clear()
        self._move.clear()
        self._usable.set()
        if self._roster.has_choice:
            connection.watch()
        log.info("connected to a server", server=connection.peer.name, own=server == OWN)
        self._tasks.spawn(self._follow(connection), "follow")
        if before is not None:
            self._tasks.spawn(self._drain(before), "drain")
        self._told()

    async def _follow(self, connection: RpcConnection) -> None:
        await connection.wait_closed()
        self._lose(connection)

    def _lose(self, connection: RpcConnection) -> None:
        if self.connection is connection:
            log.warning("lost the connection to the server", server=connection.peer.name)
            self._roster.failed(self.server, self._clock.now())
            self.connection = None
            self.lost_at_s = self._clock.now()
            self._usable.clear()
            self._lost.set()

    async def _drain(self, connection: RpcConnection) -> None:
        self._draining.append(connection)
        if len(self._draining) > DRAINING_MAX:
            self._draining[0].abort()
        await connection.drain(DRAIN_S)
        self._draining.remove(connection)

    # --- a better one

    async def _improve(self) -> None:
        """An agent with a server of its own goes back to it; another goes from server to server, in minutes."""
        while True:
            has_own = self._path is not None
            await self._clock.sleep(self._rng.uniform(*(OWN_RETRY_S if has_own else REBALANCE_S)))
            if self.connection is None:
                continue
            if not has_own:
                self._roster.shuffle()
            await self._move_to(self._roster.better(self.server, self._clock.now()))

    async def _leave(self) -> None:
        while True:
            await self._move.wait()
            self._move.clear()
            server, now_s = self.server, self._clock.now()
            others = tuple(each for each in self._roster.order(now_s) if each != server)
            if self.connection is not None and others:
                self._roster.troubled(server, now_s)
                await self._move_to(others)
            await self._clock.sleep(MOVE_INTERVAL_S)

    async def _move_to(self, candidates: tuple[str, ...]) -> None:
        found = await self._race(candidates)
        if found is not None:
            self._adopt(*found)

    # --- dialling

    async def _race(self, candidates: tuple[str, ...]) -> tuple[str, RpcConnection] | None:
        waiting = list(candidates)
        dials: dict[asyncio.Task[RpcConnection | None], str] = {}
        try:
            while waiting or dials:
                if waiting:
                    server = waiting.pop(0)
                    dials[self._tasks.spawn(self._dial(server), f"dial {server}")] = server
                done, _ = await asyncio.wait(
                    dials, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in sorted(done, key=lambda each: candidates.index(dials[each])):
                    server = dials.pop(task)
                    connection = task.result()
                    if connection is not None:
                        return server, connection
            return None
        finally:
            for task in dials:
                task.add_done_callback(_drop)
                task.cancel()

    async def _dial(self, server: str) -> RpcConnection | None:
        try:
            connection = await self._connect(server)
        except errors.ChowkError as error:
            self._roster.failed(server, self._clock.now())
            self._complain(server, error)
            return None
        self._said.pop(server, None)
        return connection

    async def _connect(self, server: str) -> RpcConnection:
        if server != OWN or self._path is None:
            return await dial_tcp(server, self._identity, timeout_s=DIAL_TIMEOUT_S)
        connection = await dial_unix(self._path)
        try:
            await connection.ping(DIAL_TIMEOUT_S)
        except BaseException:
            connection.abort()
            raise
        return connection

    def _complain(self, server: str, error: errors.ChowkError) -> None:
        text = str(error)
        if isinstance(error, errors.Unavailable):
            log.debug("no server", server=server, error=text)
            return
        self.problem = text
        if self._said.get(server) != text:
            if len(self._said) >= SERVERS_MAX:
                self._said.clear()
            self._said[server] = text
            log.error("a server cannot be used", server=server, error=text)


def _drop(task: asyncio.Task[RpcConnection | None]) -> None:
    """A dial that nobody waits for any more."""
    if not task.cancelled() and task.exception() is None:
        connection = task.result()
        if connection is not None:
            connection.abort()
