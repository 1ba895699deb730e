"""Applies what changes keys: writes, compare-and-set, locks, removal. Total. Called by `machine` and `session`.

A lock-delay is measured by the proposers' clocks, in `apply`, so that it holds whoever leads, also across a restart, and so
that no acquisition that was under way when the holder was lost can slip through. A clock that jumps back makes it longer by
no more than CLOCK_JUMP_S_MAX: from further off it is not believed. (Consul keeps them in memory: a restart forgets.)
"""

from __future__ import annotations

from math import isfinite
from typing import Final

import msgspec

from chowk.core.commands import DeleteKey, DeleteKeys, PutKey
from chowk.core.records.kv import KVEntry
from chowk.core.records.session import DELETE, LOCK_DELAY_S_MAX, Session
from chowk.server.state.changes import Changes
from chowk.server.state.kv_table import key_topic, tree_topic
from chowk.server.state.store import Store

CLOCK_JUMP_S_MAX: Final = 60.0
FREED_AT_ONCE_MAX: Final = 8
"""Chunks of removed entries; what is more is left to who frees what was replaced (`Store.let_go`)."""


def put_key(store: Store, changes: Changes, command: PutKey) -> bool | str:
    """Write the key; False when a compare-and-set or the lock was lost, a text when the session is none."""
    key = command.key
    old = store.kv.entries.get(key)
    if command.cas is not None and command.cas != (old.modify_index if old is not None else 0):
        return False
    created, holder, lock_index = (old.create_index, old.session, old.lock_index) if old else (changes.index, "", 0)
    if command.acquire:
        if command.acquire not in store.session_table.records:
            return f'invalid session "{command.acquire}"'
        if holder != command.acquire:
            if holder or _is_delayed(store, key, changes.time_s):
                return False
            holder, lock_index = command.acquire, lock_index + 1
    elif command.release:
        if holder != command.release:
            return False
        holder = ""
    same = old is not None and (command.value, command.flags, holder) == (old.value, old.flags, old.session)
    if not same:
        _write(
            store,
            changes,
            KVEntry(
                key=key,
                value=command.value,
                flags=command.flags,
                create_index=created,
                modify_index=changes.index,
                lock_index=lock_index,
                session=holder,
            ),
        )
    return True


def delete_key(store: Store, changes: Changes, command: DeleteKey) -> bool:
    """Remove the key; False when it was changed since `cas`."""
    old = store.kv.entries.get(command.key)
    if old is None:
        return True
    if command.cas is not None and command.cas != old.modify_index:
        return False
    _drop(store, changes, command.key)
    return True


def delete_keys(store: Store, changes: Changes, command: DeleteKeys) -> None:
    """Remove all keys of a prefix."""
    gone = store.kv.drop_under(command.prefix, changes.index)
    if gone:
        changes.touch_keys(tree_topic(command.prefix))
    if len(gone) > FREED_AT_ONCE_MAX:
        store.left += gone


def let_go(store: Store, changes: Changes, session: Session) -> None:
    """The session has ended: release what it holds, or delete it, and let nobody have that for the lock-delay."""
    held = tuple(store.kv.held.get(session.id, ()))
    delay_s = min(session.lock_delay_s, LOCK_DELAY_S_MAX)
    for key in held:
        if session.behavior == DELETE:
            _drop(store, changes, key)
        else:
            old = store.kv.entries[key]
            _write(store, changes, msgspec.structs.replace(old, session="", modify_index=changes.index))
        if delay_s > 0 and isfinite(changes.time_s):
            _forget_ended_delays(store, changes.time_s)
            store.kv.delays.pop(key, None)
            store.kv.delays[key] = (changes.time_s, delay_s)


def _write(store: Store, changes: Changes, entry: KVEntry) -> None:
    changes.touch_keys(key_topic(entry.key))
    store.kv.put(entry)


def _drop(store: Store, changes: Changes, key: bytes) -> None:
    changes.touch_keys(key_topic(key))
    store.kv.drop(key, changes.index)


def _is_delayed(store: Store, key: bytes, time_s: float) -> bool:
    delay = store.kv.delays.get(key)
    return delay is not None and not _has_ended(delay, time_s)


def _has_ended(delay: tuple[float, float], time_s: float) -> bool:
    since_s, seconds = delay
    return not -CLOCK_JUMP_S_MAX <= time_s - since_s < seconds


def _forget_ended_delays(store: Store, time_s: float) -> None:
    """The oldest come first; one that lasts longer hides those behind it for LOCK_DELAY_S_MAX at most."""
    delays = store.kv.delays
    while delays:
        key = next(iter(delays))
        if not _has_ended(delays[key], time_s):
            return
        del delays[key]
