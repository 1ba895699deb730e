"""A store that can be changed without changing the one it is made from: what a transaction is tried out on.

Whoever changes it reads and writes it as any store. A table copies a row when it is first asked for, and what was never
asked for is still that of the original; so a rehearsal costs what is touched, not what there is. It answers no queries of
when something changed, and is thrown away after. Called by `transaction`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import ItemsView, Iterator
from copy import copy
from typing import Any, TypeVar, overload

from chowk.core.records.kv import KVEntry
from chowk.server.state.kv_table import KVTable
from chowk.server.state.ordered_entries import OrderedEntries
from chowk.server.state.store import Store
from chowk.server.state.summaries import Tally

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
_PARTS = ("session_table", "prepared_queries", "virtual_ips")


def rehearsal(store: Store) -> Store:
    """A store that holds what `store` holds, which no change to it reaches."""
    stage = Store()
    _layer(stage, store)
    for name in _PARTS:
        part = copy(getattr(store, name))
        _layer(part, part)
        setattr(stage, name, part)
    stage.kv = _Keys(store.kv)
    return stage


def _layer(stage: object, original: object) -> None:
    """Put a layer over each table of `original` into `stage`."""
    for name, table in list(vars(original).items()):
        if isinstance(table, dict):
            setattr(stage, name, Layer(table))


class Layer(dict[K, V]):
    """A dict over another, which stays as it is: rows, and what can be changed of them, are copied when asked for."""

    def __init__(self, base: dict[K, V]) -> None:
        super().__init__()
        self._base = base
        self._seen: set[K] = set()

    def __contains__(self, key: object) -> bool:
        self._pull(key)
        return super().__contains__(key)

    def __getitem__(self, key: K) -> V:
        self._pull(key)
        return super().__getitem__(key)

    def __setitem__(self, key: K, value: V) -> None:
        self._seen.add(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: K) -> None:
        self._pull(key)
        super().__delitem__(key)

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V, /) -> V: ...
    @overload
    def get(self, key: K, default: D, /) -> V | D: ...
    def get(self, key: K, default: Any = None, /) -> Any:
        """As a dict's."""
        self._pull(key)
        return super().get(key, default)

    def pop(self, key: K, *default: Any) -> Any:
        """As a dict's."""
        self._pull(key)
        return super().pop(key, *default)

    def setdefault(self, key: K, default: V) -> V:
        """As a dict's."""
        self._pull(key)
        return super().setdefault(key, default)

    def __iter__(self) -> Iterator[K]:
        self._pull_all()
        return super().__iter__()

    def __len__(self) -> int:
        self._pull_all()
        return super().__len__()

    def __bool__(self) -> bool:
        return len(self) > 0

    def items(self) -> ItemsView[K, V]:  # type: ignore[override]  # a dict's own view passes over the layer below
        """As a dict's."""
        return ItemsView(self)

    def _pull(self, key: Any) -> None:
        if key not in self._seen:
            self._seen.add(key)
            if key in self._base:
                super().__setitem__(key, _own(self._base[key]))

    def _pull_all(self) -> None:
        if len(self._seen) < len(self._base) or not self._seen.issuperset(self._base):
            for key in self._base:
                self._pull(key)


class _Keys(KVTable):
    """Keys over others, without what tells when they changed."""

    def __init__(self, base: KVTable) -> None:
        super().__init__()
        self.held, self.delays = Layer(base.held), Layer(base.delays)
        self.entries: LayeredEntries = LayeredEntries(base.entries)

    def drop_under(self, prefix: bytes, _index: int) -> list[list[KVEntry]]:
        """Remove every entry whose key begins with `prefix`, and tell of none: there may be a million."""
        self.entries.clear_under(prefix)
        self._let_go_under(prefix)
        return []


class LayeredEntries(OrderedEntries):
    """Entries over others, which stay as they are: what was written here, and the prefixes that were cleared before that."""

    def __init__(self, base: OrderedEntries) -> None:
        super().__init__()
        self._base = base
        self._own: dict[bytes, KVEntry | None] = {}
        self._cleared: list[bytes] = []

    def __getitem__(self, key: bytes) -> KVEntry:
        entry = self._own[key] if key in self._own else None if self._is_cleared(key) else self._base.get(key)
        if entry is None:
            raise KeyError(key)
        return entry

    def put(self, entry: KVEntry) -> KVEntry | None:
        """As of entries."""
        old = self.get(entry.key)
        self._own[entry.key] = entry
        return old

    def take(self, key: bytes) -> KVEntry:
        """As of entries."""
        entry = self[key]
        self._own[key] = None
        return entry

    def under(self, prefix: bytes) -> list[KVEntry]:
        """As of entries."""
        found = [] if self._is_cleared(prefix) else self._base.under(prefix)
        if any(cleared.startswith(prefix) for cleared in self._cleared):
            found = [entry for entry in found if not self._is_cleared(entry.key)]
        for key, entry in self._own.items():
            if key.startswith(prefix):
                place = bisect_left(found, key, key=lambda each: each.key)
                is_there = place < len(found) and found[place].key == key
                found[place : place + is_there] = [] if entry is None else [entry]
        return found

    def clear_under(self, prefix: bytes) -> None:
        """Remove every entry whose key begins with `prefix`."""
        self._own = {key: entry for key, entry in self._own.items() if not key.startswith(prefix)}
        self._cleared.append(prefix)

    def _is_cleared(self, key: bytes) -> bool:
        return any(key.startswith(prefix) for prefix in self._cleared)


def _own(value: Any) -> Any:
    """What of a row can be changed in place is copied: an index's members, a tally. Records cannot."""
    if isinstance(value, dict):
        return dict(value)
    return value.copy() if isinstance(value, Tally) else value
