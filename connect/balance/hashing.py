"""Stable hashes of 64 bits: the same in every process and version, so that all proxies send one key to one host."""

from __future__ import annotations

import hashlib
import struct
from typing import Final

BITS: Final = 64
_MASK: Final = (1 << BITS) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
_POINTS: Final = struct.Struct("<8Q")


def hash_key(text: str) -> int:
    """The key of what is hashed of a request (a header's or cookie's value, an address)."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


def combine(first: int, second: int) -> int:
    """One key of two, for several hash policies in their order."""
    return mixed((first << 1 & _MASK | first >> (BITS - 1)) ^ second)


def mixed(key: int) -> int:
    """Another hash of `key`, with no relation to it that shows (Fibonacci hashing, xor-folded)."""
    key = key * _GOLDEN & _MASK
    return (key ^ key >> 32) * _GOLDEN & _MASK


def unit(key: int) -> float:
    """`key` as a number from 0 to below 1."""
    return (key >> 11) * 2.0**-53


def points(name: str, count: int) -> tuple[int, ...]:
    """The first `count` of the endless series of hashes of `name`."""
    found: list[int] = []
    block = 0
    while len(found) < count:
        found += _POINTS.unpack(hashlib.blake2b(f"{block}\0{name}".encode(), digest_size=64).digest())
        block += 1
    return tuple(found[:count])
