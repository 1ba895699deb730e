"""The instances of services as the servers last told them, and the JSON made of them: the servers are asked each time if
that is still the answer, and send it again only when it is not. Called by `instances` and `quick_gets`.

What an index says is settled, within one history of the store; so no client gets what a server has not just confirmed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from chowk.agent.api import compression
from chowk.agent.api.shared_reads import Fetch
from chowk.agent.client.pool import ServerClient
from chowk.core.records.instance import ServiceInstance
from chowk.core.requests import HEALTH_INSTANCES, InstancesQuery, QueryMeta, QueryOptions

KNOWN_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all that is kept; what was asked for least recently goes first."""
INSTANCE_BYTES: Final = 2048
"""What one instance weighs in memory, about."""

Make = Callable[[Sequence[ServiceInstance]], bytes]


class Found:
    """The instances of a service at one index, ordered by node name and service id; and what was made of them, once."""

    def __init__(self, instances: Sequence[ServiceInstance], index: int, history: str) -> None:
        self.instances = instances
        self.index = index
        self.history = history
        self.size = len(instances) * INSTANCE_BYTES
        self.grown: Callable[[int], None] = lambda _size: None
        self._made: dict[tuple[str, str], bytes] = {}

    def json(self, name: str, make: Make) -> bytes:
        """`make` of the instances. `name` is one of a few constants of the caller."""
        data = self._made.get((name, ""))
        if data is None:
            data = self._keep((name, ""), make(self.instances))
        return data

    def compressed(self, name: str, encoding: str) -> bytes | None:
        """What `compress` made before."""
        return self._made.get((name, encoding))

    async def compress(self, name: str, make: Make, encoding: str) -> bytes:
        """`json` in a content coding; made once, a large one in a thread."""
        data = self._made.get((name, encoding))
        if data is None:
            data = self._keep((name, encoding), await compression.compressed(self.json(name, make), encoding))
        return data

    def _keep(self, key: tuple[str, str], data: bytes) -> bytes:
        self._made[key] = data
        self.size += len(data)
        self.grown(len(data))
        return data


@dataclass(frozen=True, slots=True)
class InstancesAnswer:
    """What a read found, and what is known of it."""

    meta: QueryMeta
    found: Found


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
        known = None if options.near else self._known.get(key)
        query = InstancesQuery(
            name=name,
            connect=connect,
            options=options,
            known_index=known.index if known is not None else 0,
            known_history=known.history if known is not None else "",
        )
        reply = await self._client.call(HEALTH_INSTANCES, query, timeout_s=timeout_s)
        if reply.unchanged and known is not None:
            if self._known.get(key) is known:
                self._known.move_to_end(key)
            return InstancesAnswer(reply.meta, known)
        newer = self._known.get(key)
        if newer is not None and reply.history and (newer.history, newer.index) == (reply.history, reply.meta.index):
            return InstancesAnswer(reply.meta, newer)
        found = Found(reply.instances, reply.meta.index, reply.history)
        if reply.history and reply.instances:
            self._keep(key, found)
        return InstancesAnswer(reply.meta, found)

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
