"""The clients: they read and write registers, add to a set and watch it, through every agent, whatever happens to it.

Whatever is not surely refused is unknown: the judge must bear both.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from typing import Any, Final

from chaos.history import ERA_S, LOST, NOT_DONE, OK, UNKNOWN, History, Operation, era_now, register_now
from chaos.wire import Lost, Refused, send

REGISTERS: Final = 6
PAUSE_S: Final = 0.02
UNKNOWN_PAUSE_S: Final = 0.5
"""After an unknown outcome a client rests: each such write makes the judge's work harder."""
ERA_SLACK_S: Final = 20.0
"""A watcher stays with an era until the last write into it has ended."""
Address = tuple[str, int]


class Clients:
    """`agents` maps an agent's name to its HTTP address. `run` works until `stop` is set."""

    def __init__(self, agents: dict[str, Address], history: History, rng: random.Random, each: int) -> None:
        self._agents = agents
        self._history = history
        self._rng = rng
        self._each = each
        self._count = 0
        self.stop = asyncio.Event()
        self._adding = len(agents)

    async def run(self) -> None:
        """Every client at once."""
        async with asyncio.TaskGroup() as group:
            for name, address in self._agents.items():
                for number in range(self._each):
                    group.create_task(self._work(f"{name}/{number}", address))
                group.create_task(self._add(name, address))
                group.create_task(self._watch(name, address))

    async def _work(self, client: str, address: Address) -> None:
        while not self.stop.is_set():
            key = register_now(self._rng.randrange(REGISTERS))
            choice = self._rng.random()
            if choice < 0.35:
                outcome = await self._write(client, address, key)
            elif choice < 0.5:
                outcome = await self._swap(client, address, key)
            else:
                outcome = (await self._read(client, address, key))[0]
            await asyncio.sleep(PAUSE_S if outcome in (OK, LOST) else UNKNOWN_PAUSE_S)

    async def _write(self, client: str, address: Address, key: str) -> str:
        self._count += 1
        operation = self._history.begin(Operation(client, key, "write", f"v{self._count}"))
        return await self._put(address, operation, "")

    async def _swap(self, client: str, address: Address, key: str) -> str:
        """Compare and set by the index that a read gave, also in a transaction: it succeeds only when the value read is
        still there."""
        outcome, value, index = await self._read(client, address, key)
        if outcome != OK or value is None:
            return outcome
        self._count += 1
        operation = self._history.begin(Operation(client, key, "cas", f"v{self._count}", expected=value))
        if self._rng.random() < 0.5:
            return self._end(operation, await _swap_at_once(address, key, operation.value or "", index))
        return await self._put(address, operation, f"cas={index}")

    async def _put(self, address: Address, operation: Operation, query: str) -> str:
        return self._end(operation, await _put(address, operation.key, operation.value or "", query))

    def _end(self, operation: Operation, outcome: str) -> str:
        self._history.end(operation, outcome)
        if operation.ended is not None:
            self._history.latencies_s.append(operation.ended - operation.began)
        return outcome

    async def _read(self, client: str, address: Address, key: str) -> tuple[str, str | None, int]:
        operation = self._history.begin(Operation(client, key, "read"))
        query = "consistent" if self._rng.random() < 0.3 else ""
        try:
            status, headers, body = await send(address, "GET", f"/v1/kv/{key}", query)
        except (Refused, Lost):
            status, headers, body = 0, {}, b""
        if status == 404 and "x-consul-index" in headers:
            self._history.end(operation, OK)
            return OK, None, 0
        if status != 200:
            self._history.end(operation, NOT_DONE)
            return NOT_DONE, None, 0
        row: dict[str, Any] = json.loads(body)[0]
        operation.value = base64.b64decode(row["Value"]).decode()
        self._history.end(operation, OK)
        return OK, operation.value, row["ModifyIndex"]

    async def _add(self, name: str, address: Address) -> None:
        """Add members to the set, each once."""
        number = 0
        while not self.stop.is_set():
            number += 1
            member = f"chaos/set/{era_now()}/{name}-{number}"
            self._history.attempted.add(member)
            if await _put(address, member, "x", "") == OK:
                self._history.acknowledged[member] = time.monotonic()
            await asyncio.sleep(0.25)
        self._adding -= 1

    async def _watch(self, name: str, address: Address) -> None:
        """Follow the set, era by era, by blocking queries, as a consumer would; indexes must not go back."""
        seen = self._history.watched.setdefault(name, set())
        index, era = 0, era_now()
        while self._adding:
            if time.monotonic() > (era + 1) * ERA_S + ERA_SLACK_S:
                index, era = 0, era + 1
            found = await self._look(address, era, seen, f"index={index}&wait=5s")
            before, index = index, found or index
            self._history.went_back[name] += index < before
        # Nothing is added any more: one last look at each set that there was, not waiting for a change.
        while era <= era_now():
            era += await self._look(address, era, seen, "") > 0

    async def _look(self, address: Address, era: int, seen: set[str], query: str) -> int:
        """Note the members of a set; the index of the answer, 0 when there was none."""
        try:
            status, headers, body = await send(address, "GET", f"/v1/kv/chaos/set/{era}/", f"keys&{query}")
        except (Refused, Lost):
            status, headers, body = 0, {}, b""
        if status not in (200, 404) or "x-consul-index" not in headers:
            await asyncio.sleep(0.3)
            return 0
        seen.update(json.loads(body) if status == 200 else ())
        return int(headers["x-consul-index"])


async def _put(address: Address, key: str, value: str, query: str) -> str:
    """The outcome. Only a connection that was refused is surely not done."""
    try:
        status, _headers, body = await send(address, "PUT", f"/v1/kv/{key}", query, value)
    except Refused:
        return NOT_DONE
    except Lost:
        return UNKNOWN
    if status != 200:
        return UNKNOWN
    return OK if body.strip() == b"true" else LOST


async def _swap_at_once(address: Address, key: str, value: str, index: int) -> str:
    """The outcome of a transaction that writes the key if it is as of `index`, and reads it back: it must find its own."""
    encoded = base64.b64encode(value.encode()).decode()
    steps = [{"KV": {"Verb": "cas", "Key": key, "Value": encoded, "Index": index}}, {"KV": {"Verb": "get", "Key": key}}]
    try:
        status, _headers, body = await send(address, "PUT", "/v1/txn", "", json.dumps(steps))
    except Refused:
        return NOT_DONE
    except Lost:
        return UNKNOWN
    if status != 200:
        return LOST if status == 409 else UNKNOWN
    found = json.loads(body)["Results"][1]["KV"]["Value"]
    if found != encoded:
        raise AssertionError(f"a transaction on {key} wrote {encoded} and read {found}")
    return OK
