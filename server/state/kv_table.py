"""The table of keys: entries, their order, who holds which, and when each key and prefix last changed. Part of `Store`.

A removed key leaves a tombstone with the index of its removal, so that the index of a key or prefix never goes back. When
there are over TOMBSTONES_MAX, the oldest are dropped, and `floor`, the newest index of these, stands for all that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from chowk.core.events import KEY, KEY_PREFIX, KEY_TREE, Topic
from chowk.core.records.kv import KVEntry
from chowk.server.state.ordered_entries import OrderedEntries

TOMBSTONES_MAX: Final = 16_384
TOMBSTONES_KEPT: Final = 12_288
PREFIXES_MAX: Final = 16_384
"""Prefixes whose index is remembered; the one remembered first goes first, and is looked up anew when asked for."""


def key_topic(key: bytes) -> Topic:
    """The topic of one key."""
    return Topic(kind=KEY, key=key.decode("latin-1"))


def tree_topic(prefix: bytes) -> Topic:
    """Tells that many keys that begin with `prefix` changed at once."""
    return Topic(kind=KEY_TREE, key=prefix.decode("latin-1"))


def prefix_topic(prefix: bytes) -> Topic:
    """The topic of all keys that begin with `prefix`."""
    return Topic(kind=KEY_PREFIX, key=prefix.decode("latin-1"))


class KVTable:
    """Written by `kv` and the snapshot."""

    def __init__(self) -> None:
        self.entries = OrderedEntries()
        self.tombstones: dict[bytes, int] = {}
        """Removed key -> the index of its removal, the oldest first."""
        self.floor = 0
        self.held: dict[str, dict[bytes, None]] = {}
        """Session -> the keys it holds."""
        self.delays: dict[bytes, tuple[float, float]] = {}
        """Key -> (proposer's Unix time at which its holder was lost, seconds for which nobody may acquire it)."""
        self._last = 0
        self._prefixes: dict[bytes, int] = {}
        self._lengths: dict[int, int] = {}

    def put(self, entry: KVEntry) -> None:
        """Write an entry."""
        self._place(entry)
        self.tombstones.pop(entry.key, None)
        self._changed(entry.key, entry.modify_index)

    def drop(self, key: bytes, index: int) -> None:
        """Remove an entry that is there, at `index`."""
        self._let_go(self.entries.take(key))
        self.tombstones[key] = index
        self._changed(key, index)
        self._bound_tombstones()

    def drop_under(self, prefix: bytes, index: int) -> list[list[KVEntry]]:
        """Remove every entry whose key begins with `prefix`, at `index`; these, some a list: freeing them takes longer than
        all of this, so who has the last reference may take their time."""
        touched = [known for known in self._prefixes if _overlap(known, prefix) and self.entries.has_under(known)]
        gone = self.entries.take_under(prefix)
        if not gone:
            return gone
        self._last = index
        for known in touched:
            self._prefixes[known] = index
        if sum(map(len, gone)) > TOMBSTONES_KEPT:
            self.floor = index
            self.tombstones.clear()
            self._let_go_under(prefix)
        else:
            for chunk in gone:
                for entry in chunk:
                    self._let_go(entry)
                    self.tombstones[entry.key] = index
            self._bound_tombstones()
        return gone

    def tables(self) -> list[dict[Any, Any] | list[Any]]:
        """All that grows with the entries, for who frees them bit by bit."""
        return [self.tombstones, self._prefixes, *self.entries.tables()]

    def under(self, prefix: bytes) -> list[KVEntry]:
        """The entries whose keys begin with `prefix`, in order."""
        return self.entries.under(prefix)

    def key_index(self, key: bytes) -> int:
        """When the key last changed."""
        entry = self.entries.get(key)
        return entry.modify_index if entry is not None else self.tombstones.get(key, self.floor)

    def prefix_index(self, prefix: bytes) -> int:
        """When a key that begins with `prefix` last changed."""
        if not prefix:
            return self._last
        known = self._prefixes.get(prefix)
        if known is None:
            gone = (index for key, index in self.tombstones.items() if key.startswith(prefix))
            known = max(self.entries.newest_under(prefix), self.floor, *gone)
            self._remember(prefix, known)
        return known

    def load(self, entries: Iterable[KVEntry]) -> None:
        """Take a snapshot's entries; several times, for parts of them. `settle` ends that."""
        for entry in entries:
            self._place(entry)

    def settle(self) -> None:
        """Everything is loaded: bring the index of all up to date."""
        self._last = max(self.entries.newest_under(b""), self.floor, *self.tombstones.values())

    def _bound_tombstones(self) -> None:
        if len(self.tombstones) > TOMBSTONES_MAX:
            oldest = list(islice(self.tombstones, len(self.tombstones) - TOMBSTONES_KEPT))
            self.floor = max(self.floor, *(self.tombstones.pop(each) for each in oldest))

    def _place(self, entry: KVEntry) -> None:
        old = self.entries.put(entry)
        if entry.session != (old.session if old is not None else ""):
            if old is not None:
                self._let_go(old)
            if entry.session:
                self.held.setdefault(entry.session, {})[entry.key] = None

    def _let_go(self, entry: KVEntry) -> None:
        keys = self.held.get(entry.session)
        if keys is not None:
            keys.pop(entry.key, None)
            if not keys:
                del self.held[entry.session]

    def _let_go_under(self, prefix: bytes) -> None:
        for session, keys in tuple(self.held.items()):
            for key in [key for key in keys if key.startswith(prefix)]:
                del keys[key]
            if not keys:
                del self.held[session]

    def _changed(self, key: bytes, index: int) -> None:
        self._last = index
        prefixes = self._prefixes
        for length in self._lengths:
            prefix = key[:length]
            if prefix in prefixes:
                prefixes[prefix] = index

    def _remember(self, prefix: bytes, index: int) -> None:
        if len(self._prefixes) >= PREFIXES_MAX:
            oldest = next(iter(self._prefixes))
            del self._prefixes[oldest]
            self._lengths[len(oldest)] -= 1
            if not self._lengths[len(oldest)]:
                del self._lengths[len(oldest)]
        self._prefixes[prefix] = index
        self._lengths[len(prefix)] = self._lengths.get(len(prefix), 0) + 1


def _overlap(one: bytes, other: bytes) -> bool:
    return one.startswith(other) or other.startswith(one)
