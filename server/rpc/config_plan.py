"""ConfigEntry.Plan: what writing config entries would change, whom it would touch, and whether it would be refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec

from chowk.connect.chain.validation import Key, affected, changed, refuse_broken
from chowk.connect.entries import times
from chowk.connect.entries.check import check_entry, refuse
from chowk.core.config_requests import (
    CONFIG_PLAN,
    AffectedService,
    ConfigPlan,
    ConfigPlanQuery,
    ConfigPlanReply,
    PlannedChange,
)
from chowk.core.errors import InvalidRequest
from chowk.core.records.config_entry import AnyConfigEntry, ProxyDefaults, ServiceIntentions, SourceIntention
from chowk.core.records.mesh import Mesh
from chowk.core.records.service import KIND_CONNECT_PROXY
from chowk.server.rpc.config_warnings import ANY, warnings
from chowk.server.rpc.context import ServerContext
from chowk.server.state import queries
from chowk.server.state.store import Store

ENTRIES_MAX: Final = 256


def serve(context: ServerContext) -> None:
    """Offer this noun's method."""
    context.gate.serve(CONFIG_PLAN, partial(_plan, context))


async def _plan(context: ServerContext, query: ConfigPlanQuery) -> ConfigPlanReply:
    if not 1 <= len(query.entries) <= ENTRIES_MAX:
        raise InvalidRequest(f"name 1 to {ENTRIES_MAX} config entries")
    now = context.clock.wall()
    meta, plan = await context.reads.run(
        query.options, (queries.entries_topic(""),), lambda store: _planned(store, query.entries, now)
    )
    return ConfigPlanReply(meta=meta, plan=plan)


def _planned(store: Store, entries: tuple[AnyConfigEntry, ...], now: float) -> ConfigPlan:
    changes = tuple(
        PlannedChange(old=old, new=entry)
        for entry in entries
        if (old := store.entries.get((entry.kind, entry.name))) is None or _bare(old) != _bare(entry)
    )
    wanted: dict[Key, AnyConfigEntry | None] = {(each.new.kind, each.new.name): each.new for each in changes}
    return ConfigPlan(
        changes=changes,
        affected=_affected(store, wanted),
        refusal=_refusal(store, entries, wanted, now),
        warnings=warnings(store, wanted),
    )


def _bare(entry: AnyConfigEntry) -> AnyConfigEntry:
    """Without what the servers add when they store it."""
    if isinstance(entry, ServiceIntentions):
        sources = sorted((_bare_source(source) for source in entry.sources), key=lambda source: source.name)
        entry = msgspec.structs.replace(entry, sources=tuple(sources))
    return msgspec.structs.replace(entry, create_index=0, modify_index=0)


def _bare_source(source: SourceIntention) -> SourceIntention:
    return msgspec.structs.replace(source, precedence=0, legacy_create_time="", legacy_update_time="")


def _refusal(
    store: Store, entries: tuple[AnyConfigEntry, ...], wanted: Mapping[Key, AnyConfigEntry | None], now: float
) -> str:
    lines = []
    for entry in entries:
        try:
            check_entry(entry)
            refuse(times.check_times(entry, now))
        except InvalidRequest as error:
            lines.append(f"{entry.kind}/{entry.name}: {error}")
    if not lines:
        try:
            refuse_broken(store.entries, wanted)
        except InvalidRequest as error:
            lines.append(str(error))
    return "\n".join(lines)


def _affected(store: Store, wanted: Mapping[Key, AnyConfigEntry | None]) -> tuple[AffectedService, ...]:
    names = set(affected(store.entries, changed(store.entries, wanted), wanted))
    names |= {name for kind, name in wanted if kind == ServiceIntentions.kind}
    if any(kind in (ProxyDefaults.kind, Mesh.kind) for kind, _name in wanted):
        names.add(ANY)
    dialling = _dialling(store) if names else Counter()
    return tuple(
        AffectedService(
            service=name,
            instances=sum(map(len, store.by_mesh.values()))
            if name == ANY
            else len(store.by_mesh.get(name.lower(), ())),
            sidecars=dialling[name],
        )
        for name in sorted(names)
    )


def _dialling(store: Store) -> Counter[str]:
    """How many sidecars dial each service; under ANY how many there are."""
    found: Counter[str] = Counter()
    for rows in store.by_mesh.values():
        for row in rows:
            service = store.services[row]
            if service.kind == KIND_CONNECT_PROXY and service.proxy is not None:
                found[ANY] += 1
                found.update({upstream.destination_name for upstream in service.proxy.upstreams})
    return found
