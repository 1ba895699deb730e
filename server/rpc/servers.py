"""This server's way to the other servers: one connection each, made when it is needed, shared by all calls.

Used by `forward` and by the leader's duties. Raft has its own way (server.peers).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from chowk.core.errors import ChowkError, Unavailable
from chowk.core.requests import Method
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.tasks import TaskOwner

Q = TypeVar("Q")
A = TypeVar("A")
Dial = Callable[[str], Awaitable[RpcConnection]]

log = structlog.get_logger("chowk.servers")
DIAL_TIMEOUT_S: Final = 2.0
SERVERS_MAX: Final = 64
"""Connections kept; beyond that the oldest is closed."""


async def dial_nobody(address: str) -> RpcConnection:
    """The way of a server that has no port: there is no other server."""
    raise Unavailable(f"this server has no way to {address}")


class OtherServers:
    """`dial` connects to `host:port`, or raises a ChowkError."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._connections: dict[str, asyncio.Task[RpcConnection | ChowkError]] = {}
        self._tasks = TaskOwner("servers")

    async def call(self, address: str, method: Method[Q, A], request: Q, *, timeout_s: float) -> A:
        """Call the server at `address`. Unavailable: it was not reached, nothing was done; OutcomeUnknown: the connection
        was lost meanwhile; DeadlineExceeded."""
        connection = await self._connection(address)
        return await connection.call(method, request, timeout_s=timeout_s)

    def drop(self, address: str) -> None:
        """End the connection: what waits for an answer on it gets OutcomeUnknown."""
        task = self._connections.pop(address, None)
        if task is None:
            return
        connection = _made(task)
        if connection is not None:
            connection.abort()
        else:
            task.cancel()

    async def close(self) -> None:
        """End every connection."""
        for address in list(self._connections):
            self.drop(address)
        await self._tasks.close()

    async def _connection(self, address: str) -> RpcConnection:
        task = self._connections.get(address)
        if task is not None and task.done():
            connection = _made(task)
            if connection is not None and not connection.closed:
                return connection
            task = None
        if task is None:
            self._connections.pop(address, None)
            if len(self._connections) >= SERVERS_MAX:
                self.drop(next(iter(self._connections)))
            task = self._connections[address] = self._tasks.spawn(self._connect(address), f"dial {address}")
        # A caller that goes away does not take the connection from the others that wait for it.
        await asyncio.wait([task])
        if task.cancelled():
            raise Unavailable(f"the server at {address} is not needed any more")
        result = task.result()
        if isinstance(result, ChowkError):
            raise result
        return result

    async def _connect(self, address: str) -> RpcConnection | ChowkError:
        """An error is a value here: that a server is away is no failure of this task, and its callers are told."""
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                return await self._dial(address)
        except ChowkError as error:
            return error
        except TimeoutError:
            return Unavailable(f"the server at {address} does not answer")
        except OSError as error:
            return Unavailable(f"the server at {address} cannot be reached: {error}")


def _made(task: asyncio.Task[RpcConnection | ChowkError]) -> RpcConnection | None:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return None
    result = task.result()
    return None if isinstance(result, ChowkError) else result
