"""Entries of KV in the order of their keys, for prefixes: short sorted lists in one sorted list. Pure. Called by `kv_table`.

One sorted list of a million keys moves half of them at an insertion, 0.2 ms; here it is half a chunk. Keys and entries stand
in two lists side by side, so that a range of entries is a slice: 200,000 in 2 ms, where looking up each takes 100.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, Final

from chowk.core.records.kv import KVEntry

CHUNK_MAX: Final = 1024
CHUNK_LOADED: Final = CHUNK_MAX // 2


class OrderedEntries:
    """Entries by key. No chunk is ever empty; `_firsts` are the chunks' first keys."""

    def __init__(self) -> None:
        self._firsts: list[bytes] = []
        self._keys: list[list[bytes]] = []
        self._entries: list[list[KVEntry]] = []

    def tables(self) -> list[dict[Any, Any] | list[Any]]:
        """The chunks, for who frees them bit by bit."""
        return [self._keys, self._entries]

    def load(self, entries: Iterable[KVEntry]) -> None:
        """Replace all by `entries`, in any order, each key once."""
        ordered = sorted(entries, key=lambda entry: entry.key)
        starts = range(0, len(ordered), CHUNK_LOADED)
        self._entries = [ordered[at : at + CHUNK_LOADED] for at in starts]
        self._keys = [[entry.key for entry in chunk] for chunk in self._entries]
        self._firsts = [chunk[0] for chunk in self._keys]

    def put(self, entry: KVEntry) -> None:
        """Add an entry, or replace the one of its key."""
        key = entry.key
        if not self._firsts:
            self._firsts, self._keys, self._entries = [key], [[key]], [[entry]]
            return
        at = max(0, bisect_right(self._firsts, key) - 1)
        keys, entries = self._keys[at], self._entries[at]
        place = bisect_left(keys, key)
        if place < len(keys) and keys[place] == key:
            entries[place] = entry
            return
        keys.insert(place, key)
        entries.insert(place, entry)
        self._firsts[at] = keys[0]
        if len(keys) > CHUNK_MAX:
            half = CHUNK_MAX // 2
            self._keys.insert(at + 1, keys[half:])
            self._entries.insert(at + 1, entries[half:])
            self._firsts.insert(at + 1, keys[half])
            del keys[half:], entries[half:]

    def remove(self, key: bytes) -> None:
        """Remove the entry of a key that is there."""
        at = bisect_right(self._firsts, key) - 1
        place = bisect_left(self._keys[at], key)
        self._cut(at, place, place + 1)

    def under(self, prefix: bytes) -> list[KVEntry]:
        """The entries whose keys begin with `prefix`, in order."""
        found: list[KVEntry] = []
        for at, start, end in self._spans(prefix):
            found += self._entries[at][start:end]
        return found

    def has_under(self, prefix: bytes) -> bool:
        """Whether any key begins with `prefix`."""
        return next(self._spans(prefix), None) is not None

    def remove_under(self, prefix: bytes) -> list[KVEntry]:
        """Remove the entries whose keys begin with `prefix`, and return them."""
        found = self.under(prefix)
        for span in reversed(list(self._spans(prefix))):
            self._cut(*span)
        return found

    def _cut(self, at: int, start: int, end: int) -> None:
        keys = self._keys[at]
        del keys[start:end], self._entries[at][start:end]
        if keys:
            self._firsts[at] = keys[0]
        else:
            del self._firsts[at], self._keys[at], self._entries[at]

    def _spans(self, prefix: bytes) -> Iterator[tuple[int, int, int]]:
        """(chunk, first, behind the last) of each chunk's part under `prefix`; in the middle no key is looked at."""
        for at in range(max(0, bisect_left(self._firsts, prefix) - 1), len(self._firsts)):
            keys = self._keys[at]
            start = bisect_left(keys, prefix)
            if start == len(keys):
                continue
            if not keys[start].startswith(prefix):
                return
            if not keys[-1].startswith(prefix):
                yield at, start, bisect_left(keys, True, start, key=lambda key: not key.startswith(prefix))
                return
            yield at, start, len(keys)
