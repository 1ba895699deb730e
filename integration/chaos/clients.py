"""The clients: they read and write registers, add to a set and watch it, through every agent, whatever happens to it.

Asyncio over HTTP with one connection pool an agent. Whatever is not surely refused is unknown: the judge must bear both.
"""

from __future__ import annotations

import asyncio
import base64
import random
import time
from typing import Any, Final

import aiohttp

from chaos.history import LOST, NOT_DONE, OK, UNKNOWN, History, Operation

REGISTERS: Final = 6
EPOCH_S: Final = 20.0
"""Registers are new ones after this long, so that the judge's work grows with the time and not with its square."""
TIMEOUT_S: Final = 12.0
PAUSE_S: Final = 0.02
UNKNOWN_PAUSE_S: Final = 0.5
"""After an unknown outcome a client rests: each such write makes the judge's work harder."""


class Clients:
    """`urls` maps an agent's name to its HTTP address. `run` works until `stop` is set."""

    def __init__(self, urls: dict[str, str], history: History, rng: random.Random, each: int) -> None:
        self._urls = urls
        self._history = history
        self._rng = rng
        self._each = each
        self._count = 0
        self.stop = asyncio.Event()

    async def run(self) -> None:
        """Every client at once."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a kept connection is tried twice behind our back
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as group:
            for name, url in self._urls.items():
                for number in range(self._each):
                    group.create_task(self._work(session, f"{name}/{number}", url))
                group.create_task(self._add(session, name, url))
                group.create_task(self._watch(session, name, url))

    async def _work(self, session: aiohttp.ClientSession, client: str, url: str) -> None:
        while not self.stop.is_set():
            key = f"chaos/r{self._rng.randrange(REGISTERS)}/{int(time.monotonic() / EPOCH_S)}"
            choice = self._rng.random()
            if choice < 0.35:
                outcome = await self._write(session, client, url, key)
            elif choice < 0.5:
                outcome = await self._swap(session, client, url, key)
            else:
                outcome = (await self._read(session, client, url, key))[0]
            await asyncio.sleep(PAUSE_S if outcome in (OK, LOST) else UNKNOWN_PAUSE_S)

    async def _write(self, session: aiohttp.ClientSession, client: str, url: str, key: str) -> str:
        self._count += 1
        operation = self._history.begin(Operation(client, key, "write", f"v{self._count}"))
        return await self._put(session, url, operation, {})

    async def _swap(self, session: aiohttp.ClientSession, client: str, url: str, key: str) -> str:
        """Compare and set by the index that a read gave: it succeeds only when the value read is still there."""
        outcome, value, index = await self._read(session, client, url, key)
        if outcome != OK or value is None:
            return outcome
        self._count += 1
        operation = self._history.begin(Operation(client, key, "cas", f"v{self._count}", expected=value))
        return await self._put(session, url, operation, {"cas": str(index)})

    async def _put(self, session: aiohttp.ClientSession, url: str, operation: Operation, query: dict[str, str]) -> str:
        outcome, done = await _put(session, f"{url}/v1/kv/{operation.key}", operation.value or "", query)
        if outcome == OK and not done:
            outcome = LOST
        self._history.end(operation, outcome)
        if operation.ended is not None:
            self._history.latencies_s.append(operation.ended - operation.began)
        return outcome

    async def _read(
        self, session: aiohttp.ClientSession, client: str, url: str, key: str
    ) -> tuple[str, str | None, int]:
        operation = self._history.begin(Operation(client, key, "read"))
        query = {"consistent": "1"} if self._rng.random() < 0.3 else {}
        try:
            async with session.get(f"{url}/v1/kv/{key}", params=query) as reply:
                if reply.status == 404 and "X-Consul-Index" in reply.headers:
                    self._history.end(operation, OK)
                    return OK, None, 0
                if reply.status != 200:
                    self._history.end(operation, NOT_DONE)
                    return NOT_DONE, None, 0
                row: dict[str, Any] = (await reply.json())[0]
        except (aiohttp.ClientError, TimeoutError, ValueError):
            self._history.end(operation, NOT_DONE)
            return NOT_DONE, None, 0
        operation.value = base64.b64decode(row["Value"]).decode()
        self._history.end(operation, OK)
        return OK, operation.value, row["ModifyIndex"]

    async def _add(self, session: aiohttp.ClientSession, name: str, url: str) -> None:
        """Add members to the set, each once."""
        number = 0
        while not self.stop.is_set():
            number += 1
            member = f"chaos/set/{name}-{number}"
            self._history.attempted.add(member)
            outcome, done = await _put(session, f"{url}/v1/kv/{member}", "x", {})
            if outcome == OK and done:
                self._history.acknowledged[member] = time.monotonic()
            await asyncio.sleep(0.25)

    async def _watch(self, session: aiohttp.ClientSession, name: str, url: str) -> None:
        """Follow the set by blocking queries, as a consumer would; indexes must not go back."""
        seen = self._history.watched.setdefault(name, set())
        indexes = self._history.indexes.setdefault(name, [])
        index = 0
        while not self.stop.is_set():
            query = {"keys": "1", "index": str(index), "wait": "5s"}
            try:
                async with session.get(f"{url}/v1/kv/chaos/set/", params=query) as reply:
                    if reply.status not in (200, 404):
                        raise aiohttp.ClientError(f"status {reply.status}")
                    index = int(reply.headers["X-Consul-Index"])
                    seen.update(await reply.json() if reply.status == 200 else ())
                    indexes.append(index)
            except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):
                await asyncio.sleep(0.3)


async def _put(session: aiohttp.ClientSession, url: str, value: str, query: dict[str, str]) -> tuple[str, bool]:
    """(outcome, whether the reply was true). Only a connection that was refused is surely not done."""
    try:
        async with session.put(url, data=value, params=query) as reply:
            text = await reply.text()
            return (OK, text.strip() == "true") if reply.status == 200 else (UNKNOWN, False)
    except aiohttp.ClientConnectorError:
        return NOT_DONE, False
    except (aiohttp.ClientError, TimeoutError):
        return UNKNOWN, False
