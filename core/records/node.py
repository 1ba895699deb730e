"""A node: one host of the datacenter."""

from __future__ import annotations

import msgspec

from chowk.core.records.base import Indexed


class Node(Indexed, frozen=True, kw_only=True):
    """One host. `node` is its unique name (compared without case), `id` a UUID that outlives renames."""

    id: str = ""
    node: str
    address: str
    datacenter: str = "dc1"
    tagged_addresses: dict[str, str] = msgspec.field(default_factory=dict)
    meta: dict[str, str] = msgspec.field(default_factory=dict)
