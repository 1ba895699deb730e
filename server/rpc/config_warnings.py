"""What config entries say that they may not mean: it is taken, and told by `config write` and `config diff`. Pure; asked by
`config_plan`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from chowk.connect.chain.entries import ChainEntries
from chowk.core.filter.expression import compile_filter
from chowk.core.filter.syntax import FilterError
from chowk.core.records.config_entry import AnyConfigEntry, ServiceIntentions
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.resolver import ServiceResolver
from chowk.server.state.store import Store

HTTP: Final = "http"
ANY: Final = "*"
Key = tuple[str, str]


def warnings(store: Store, wanted: Mapping[Key, AnyConfigEntry | None]) -> tuple[str, ...]:
    """One line for each doubt about the entries that would be written."""
    after = ChainEntries(each for each in {**store.entries, **wanted}.values() if each is not None)
    return tuple(
        warning
        for entry in wanted.values()
        if entry is not None
        for found in (_empty_subsets(store, entry), _without_effect(store, after, entry))
        for warning in found
    )


def _empty_subsets(store: Store, entry: AnyConfigEntry) -> Iterator[str]:
    """Subsets that none of the service's instances would be in, where it has any."""
    rows = store.by_mesh.get(entry.name.lower(), ()) if isinstance(entry, ServiceResolver) else ()
    if not isinstance(entry, ServiceResolver) or not rows:
        return
    known = [store.instance(row) for row in rows]
    for name, subset in sorted(entry.subsets.items()):
        try:
            keeps = compile_filter(subset.filter, ServiceInstance) if subset.filter else bool
        except FilterError:
            continue  # the refusal says so
        if not any(keeps(instance) for instance in known):
            yield f"subset {name} of {entry.name} matches none of its {len(known)} instances in the mesh"


def _without_effect(store: Store, after: ChainEntries, entry: AnyConfigEntry) -> Iterator[str]:
    """Routes and permissions look at requests, which are seen where the protocol is http. Each entry is asked about that
    has a part in it, as the protocol may be written after the routes.
    """
    name = entry.name
    protocol = after.protocol(name)
    if name == ANY or protocol == HTTP:
        return
    router = after.routers.get(name)
    if router is not None and router.routes and entry.kind in (router.kind, "service-defaults"):
        yield f"the routes of {name} have no effect: its protocol is {protocol}, carried as TCP, and routes need http"
    own = entry if isinstance(entry, ServiceIntentions) else store.entries.get((ServiceIntentions.kind, name))
    if entry.kind not in (ServiceIntentions.kind, "service-defaults") or not isinstance(own, ServiceIntentions):
        return
    sources = [each.name for each in own.sources if each.permissions]
    if sources:
        yield (
            f"permissions for {', '.join(sources)} deny every connection to {name}: its protocol is {protocol}, and only "
            "requests of http are looked at"
        )
