"""A key of the KV store with its value. Keys and values are bytes, and nothing in them is ever interpreted."""

from __future__ import annotations

import msgspec

KEY_BYTES_MAX = 4096
"""Consul has no limit of its own; here a key must fit into a request line, an index and a wake-up."""
VALUE_BYTES_MAX = 512 * 1024
"""The largest value of all; an agent's `limits.kv_max_value_size` may only be smaller."""
FLAGS_MAX = 2**64 - 1


class KVEntry(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """`lock_index` counts how often the key was acquired; `session` holds it now, "" for nobody.

    Not an `Indexed` record: there may be a million of them, so it is small, and the garbage collector does not look at it.
    """

    key: bytes
    value: bytes = b""
    flags: int = 0
    create_index: int = 0
    modify_index: int = 0
    lock_index: int = 0
    session: str = ""
