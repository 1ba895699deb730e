"""The instances of services as they go over the wire: encoded once a change for all agents that ask. Called by `health`.

What an index of a service's topic says is settled (see `server.state.changed`), so what was encoded at it may be sent again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, cast

import msgspec

from chowk.core import codec
from chowk.core.records.instance import ServiceInstance
from chowk.server.state import queries
from chowk.server.state.store import Store

PACKED_BYTES_MAX: Final = 32 * 1024 * 1024
"""Kept of all services together; those that were asked for least recently go first."""


class PackedInstances:
    """Of one server."""

    def __init__(self, bytes_max: int = PACKED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[tuple[str, bool], tuple[tuple[str, int], bytes]] = OrderedDict()
        self._bytes = 0

    def get(self, store: Store, service: str, index: int, *, connect: bool) -> tuple[ServiceInstance, ...]:
        """What goes into an `InstancesReply`: the instances, packed already. `index` is when they last changed."""
        key, version = (service.lower(), connect), (store.cluster_id, index)
        kept = self._kept.get(key)
        if kept is not None and kept[0] == version:
            self._kept.move_to_end(key)
            return _in_place(kept[1])
        found = queries.instances(store, service, connect=connect)
        if kept is not None:
            self._bytes -= len(self._kept.pop(key)[1])
        if not found or not store.cluster_id:
            return found
        data = codec.pack(found)
        self._kept[key] = (version, data)
        self._bytes += len(data)
        while self._bytes > self._bytes_max:
            _key, (_version, oldest) = self._kept.popitem(last=False)
            self._bytes -= len(oldest)
        return _in_place(data)

    def __len__(self) -> int:
        return self._bytes


def _in_place(data: bytes) -> tuple[ServiceInstance, ...]:
    """msgspec copies what is Raw to where the value would be encoded."""
    return cast("tuple[ServiceInstance, ...]", msgspec.Raw(data))
