"""Applies what changes config entries and the intentions inside them. Total. Called by `machine`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from chowk.connect.intentions.flat import arranged
from chowk.core.commands import DeleteConfigEntry, DeleteIntention, UpsertConfigEntry, UpsertIntention
from chowk.core.records.config_entry import AnyConfigEntry, ServiceIntentions, SourceIntention
from chowk.server.state.changes import Changes
from chowk.server.state.store import Key, Store, stamped

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_S_MAX = 253_402_300_799.0
"""The end of year 9999: what a proposer's clock says beyond it is not believed."""


def upsert_entry(store: Store, changes: Changes, command: UpsertConfigEntry) -> bool:
    """Write the entry; False when its compare-and-set lost."""
    entry = command.entry
    key = (entry.kind, entry.name)
    if not _may(store.entries.get(key), command.cas):
        return False
    _write(store, changes, key, entry)
    return True


def delete_entry(store: Store, changes: Changes, command: DeleteConfigEntry) -> bool:
    """Remove the entry; False when its compare-and-set lost."""
    key = (command.kind, command.name)
    if not _may(store.entries.get(key), command.cas):
        return False
    _remove(store, changes, key)
    return True


def upsert_intention(store: Store, changes: Changes, command: UpsertIntention) -> None:
    """Write one source of the destination's entry."""
    key = (ServiceIntentions.kind, command.destination)
    entry = store.entries.get(key)
    if not isinstance(entry, ServiceIntentions):
        entry = ServiceIntentions(name=command.destination)
    others = tuple(source for source in entry.sources if source.name != command.source.name)
    _write(store, changes, key, msgspec.structs.replace(entry, sources=(*others, command.source)))


def delete_intention(store: Store, changes: Changes, command: DeleteIntention) -> None:
    """Remove one source, and the entry with its last one."""
    key = (ServiceIntentions.kind, command.destination)
    entry = store.entries.get(key)
    if not isinstance(entry, ServiceIntentions):
        return
    others = tuple(source for source in entry.sources if source.name != command.source)
    if not others:
        _remove(store, changes, key)
    elif len(others) != len(entry.sources):
        _write(store, changes, key, msgspec.structs.replace(entry, sources=others))


def _may(old: AnyConfigEntry | None, cas: int | None) -> bool:
    if cas is None:
        return True
    return cas == (old.modify_index if old is not None else 0)


def _write(store: Store, changes: Changes, key: Key, entry: AnyConfigEntry) -> None:
    old = store.entries.get(key)
    if isinstance(entry, ServiceIntentions):
        entry = _dated(entry, old, changes.time_s)
    written = stamped(entry, old, changes.index)
    if written is not None:
        changes.touch_entry(key)
        store.entries[key] = written


def _remove(store: Store, changes: Changes, key: Key) -> None:
    if key in store.entries:
        changes.touch_entry(key)
        del store.entries[key]


def _dated(entry: ServiceIntentions, old: AnyConfigEntry | None, time_s: float) -> ServiceIntentions:
    """Sources in stored order, each with the time it was made and last changed; an unchanged one keeps both."""
    known = {source.name: source for source in old.sources} if isinstance(old, ServiceIntentions) else {}
    now = _rfc3339(time_s)
    unique = {source.name: source for source in entry.sources}
    sources = arranged(entry.name, unique.values())
    return msgspec.structs.replace(
        entry, sources=tuple(_dated_source(each, known.get(each.name), now) for each in sources)
    )


def _dated_source(source: SourceIntention, old: SourceIntention | None, now: str) -> SourceIntention:
    created = (old.legacy_create_time if old is not None else source.legacy_create_time) or now
    if old is not None:
        same = msgspec.structs.replace(
            source, legacy_create_time=old.legacy_create_time, legacy_update_time=old.legacy_update_time
        )
        if same == old:
            return old
    return msgspec.structs.replace(source, legacy_create_time=created, legacy_update_time=now)


def _rfc3339(time_s: float) -> str:
    seconds = time_s if 0 <= time_s <= _TIME_S_MAX else 0.0
    return (_EPOCH + timedelta(seconds=int(seconds))).strftime("%Y-%m-%dT%H:%M:%SZ")
