"""The instances of services as the servers last told them, and the JSON made of them: the servers are asked each time if
that is still the answer, and send it again only when it is not. Called by `instances` and `quick_gets`.

What an index says is settled, within one history of the store; so no client gets what a server has not just confirmed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chowk.agent.api import compression
from chowk.agent.api.shared_reads import Fetch
from chowk.agent.api.variants import Wanted, filtered_json, rows_json
from chowk.agent.client.pool import ServerClient
from chowk.agent.views.instances import instances_of
from chowk.agent.views.views import View
from chowk.core.records.instance import ServiceInstance
from chowk.core.requests import HEALTH_INSTANCES, InstancesQuery, QueryMeta, QueryOptions

KNOWN_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all that is kept; what was asked for least recently goes first."""
INSTANCE_BYTES: Final = 2048
"""What one instance weighs in memory, about."""

CHOSEN_MAX: Final = 16
"""Wishes with clients' words in them (tags, filters, orders) whose rows are kept for one answer; the oldest goes first."""


class Found:
    """The instances of a service at one index, ordered by node name and service id; and what was made of them, once."""

    def __init__(self, instances: Sequence[ServiceInstance], index: int, history: str) -> None:
        self.instances = instances
        self.index = index
        self.history = history
        self.size = len(instances) * INSTANCE_BYTES
        self.grown: Callable[[int], None] = lambda _size: None
        self._made: dict[Wanted, dict[str, bytes]] = {}
        self._chosen: deque[Wanted] = deque()
        self._making = asyncio.Lock()

    def made(self, wanted: Wanted, encoding: str = "") -> bytes | None:
        """The rows in a content coding, when they are there, or nothing that takes long makes them; None: `make` them."""
        data = self._made.get(wanted, {}).get(encoding)
        if data is None and not encoding and not wanted.filter:
            data = self._keep(wanted, "", rows_json(self.instances, wanted))
        return data

    async def make(self, wanted: Wanted, encoding: str = "") -> bytes:
        """The rows in a content coding, made once for all who want them; a filter, or a thread, takes its time."""
        data = self._made.get(wanted, {}).get(encoding)
        if data is not None:
            return data
        async with self._making:
            data = self._made.get(wanted, {}).get("") or self.made(wanted)
            if data is None:
                data = self._keep(wanted, "", await filtered_json(self.instances, wanted))
            if not encoding:
                return data
            packed = self._made.get(wanted, {}).get(encoding)
            return packed or self._keep(wanted, encoding, await compression.compressed(data, encoding))

    def _keep(self, wanted: Wanted, encoding: str, data: bytes) -> bytes:
        grown = len(data)
        if wanted not in self._made and wanted.chosen:
            self._chosen.append(wanted)
            if len(self._chosen) > CHOSEN_MAX:
                grown -= sum(map(len, self._made.pop(self._chosen.popleft()).values()))
        self._made.setdefault(wanted, {})[encoding] = data
        self.size += grown
        self.grown(grown)
        return data


def found_of(view: View) -> Found:
    """What a view holds now, and what was made of it since it changed."""
    return view.memo("found", lambda view: Found(instances_of(view), view.generation, ""))


@dataclass(frozen=True, slots=True)
class InstancesAnswer:
    """What a read found, and what is known of it; `order` are places in it, nearest first, where that was asked for. From a
    view: `hit` says whether it was there before, `age_s` how old it may be.
    """

    meta: QueryMeta
    found: Found
    order: tuple[int, ...] = ()
    hit: bool | None = None
    age_s: int = 0

    def wanted(self, wish: Wanted) -> Wanted:
        """The wish, in the order of this answer."""
        return replace(wish, order=self.order) if self.order else wish


class KnownInstances:
    """Of one agent, for as long as it stays connected to a server: another may be of another history."""

    def __init__(self, client: ServerClient, bytes_max: int = KNOWN_BYTES_MAX) -> None:
        self._client = client
        self._bytes_max = bytes_max
        self._known: OrderedDict[tuple[str, bool, str], Found] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return self._bytes

    def clear(self) -> None:
        """Forget everything."""
        for found in self._known.values():
            found.grown = lambda _size: None
        self._known.clear()
        self._bytes = 0

    def fetch(self, name: str, *, connect: bool) -> Fetch[InstancesAnswer]:
        """What asks for the instances of a service, or of its mesh."""

        async def ask(options: QueryOptions, timeout_s: float) -> InstancesAnswer:
            return await self._ask(name, connect, options, timeout_s)

        return ask

    async def _ask(self, name: str, connect: bool, options: QueryOptions, timeout_s: float) -> InstancesAnswer:
        key = (name, connect, options.token)
        known = self._known.get(key)
        query = InstancesQuery(
            name=name,
            connect=connect,
            options=options,
            known_index=known.index if known is not None else 0,
            known_history=known.history if known is not None else "",
            by_order=bool(options.near),
        )
        reply = await self._client.call(HEALTH_INSTANCES, query, timeout_s=timeout_s)
        if reply.unchanged and known is not None:
            if self._known.get(key) is known:
                self._known.move_to_end(key)
            return InstancesAnswer(reply.meta, known, reply.order)
        newer = self._known.get(key)
        if newer is not None and reply.history and (newer.history, newer.index) == (reply.history, reply.meta.index):
            return InstancesAnswer(reply.meta, newer, reply.order)
        found = Found(reply.instances, reply.meta.index, reply.history)
        if reply.history and reply.instances:
            self._keep(key, found)
        return InstancesAnswer(reply.meta, found, reply.order)

    def _keep(self, key: tuple[str, bool, str], found: Found) -> None:
        self._forget(key)
        self._known[key] = found
        found.grown = self._grow
        self._grow(found.size)

    def _grow(self, size: int) -> None:
        self._bytes += size
        while self._bytes > self._bytes_max:
            self._forget(next(iter(self._known)))

    def _forget(self, key: tuple[str, bool, str]) -> None:
        found = self._known.pop(key, None)
        if found is not None:
            found.grown = lambda _size: None
            self._bytes -= found.size
