"""What config entries must be together: every discovery chain that a change touches has to compile after it. Pure.

Called by the servers before they propose a change (`refuse_broken`), and for `chowk config diff` (`affected`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from chowk.connect.chain.compile import ChainError, compile_chain
from chowk.connect.chain.entries import ChainEntries
from chowk.core.errors import InvalidRequest
from chowk.core.records.config_entry import AnyConfigEntry, ProxyDefaults, ServiceDefaults
from chowk.core.records.resolver import ServiceResolver
from chowk.core.records.router import ServiceRouter
from chowk.core.records.splitter import ServiceSplitter

Key: TypeAlias = tuple[str, str]
Entries: TypeAlias = Mapping[Key, AnyConfigEntry]
"""By (kind, name)."""

GLOBAL: Final = (ProxyDefaults.kind, "global")
SPLITS_DEPTH_MAX: Final = 16
SPLIT_ENDS_MAX: Final = 1024
"""Splitters that lead to splitters multiply: so many parts may come of one service's traffic."""
TOLD_MAX: Final = 8
_SHAPING: Final = (ServiceRouter.kind, ServiceSplitter.kind, ServiceResolver.kind)


def changed(entries: Entries, changes: Mapping[Key, AnyConfigEntry | None]) -> dict[Key, AnyConfigEntry]:
    """The entries as `changes` leave them; None removes one."""
    after = {**entries}
    for key, entry in changes.items():
        if entry is None:
            after.pop(key, None)
        else:
            after[key] = entry
    return after


def refuse_broken(entries: Entries, changes: Mapping[Key, AnyConfigEntry | None]) -> None:
    """InvalidRequest when a chain that holds now, or did not exist, would not hold after `changes`; all done at once."""
    after = changed(entries, changes)
    names = affected(entries, after, changes)
    if not names:
        return
    now, then = ChainEntries(entries.values()), ChainEntries(after.values())
    found = []
    for name in names:
        text = fault(name, then)
        if text and text != fault(name, now):
            found.append(text if text.startswith("discovery chain") else f'discovery chain "{name}": {text}')
    if found:
        more = f"\nand {len(found) - TOLD_MAX} more chains" if len(found) > TOLD_MAX else ""
        raise InvalidRequest("\n".join(found[:TOLD_MAX]) + more)


def affected(before: Entries, after: Entries, keys: Iterable[Key]) -> tuple[str, ...]:
    """The services, by name, whose chains go through any of the entries `keys`, before or after a change of them."""
    names = {name for kind, name in keys if kind in _SHAPING or kind == ServiceDefaults.kind}
    if GLOBAL in keys and _protocol_of(before.get(GLOBAL)) != _protocol_of(after.get(GLOBAL)):
        names |= {name for entries in (before, after) for kind, name in entries if kind in _SHAPING}
    referrers: dict[str, set[str]] = {}
    for entries in (before, after):
        for (kind, name), entry in entries.items():
            if kind in _SHAPING:
                for target in _names(entry):
                    referrers.setdefault(target, set()).add(name)
    found, queue = set(names), sorted(names)
    while queue:
        new = referrers.get(queue.pop(), set()) - found
        found |= new
        queue.extend(new)
    return tuple(sorted(found))


def _names(entry: AnyConfigEntry) -> set[str]:
    """The other services that an entry leads to."""
    names: set[str] = set()
    match entry:
        case ServiceRouter():
            for route in entry.routes:
                if route.destination is not None:
                    names.add(route.destination.service)
                    names.add(route.destination.mirror.service if route.destination.mirror is not None else "")
        case ServiceSplitter():
            names = {split.service for split in entry.splits}
        case ServiceResolver():
            names = {entry.redirect.service} if entry.redirect is not None else set()
            for failover in entry.failover.values():
                names |= {failover.service, *(target.service for target in failover.targets)}
    return names - {"", entry.name}


def fault(service: str, entries: ChainEntries) -> str:
    """Why the chain of `service` does not compile, "" when it does."""
    try:
        _ends(service, entries, (), {})
        compile_chain(service, "dc1", "", entries)
    except ChainError as error:
        return str(error)
    return ""


def _ends(service: str, entries: ChainEntries, path: tuple[str, ...], known: dict[str, int]) -> int:
    """How many parts the traffic of a service is split into. ChainError when there are too many, one after the other or in
    all; the compiler, which is given what has passed here, need not bound its work again.
    """
    splitter = entries.splitters.get(service)
    if splitter is None or service in path:
        return 1  # a circle is told by the compiler, with its names
    if service in known:
        return known[service]
    if len(path) >= SPLITS_DEPTH_MAX:
        way = " -> ".join((path[0], "…", *path[-2:]))
        raise ChainError(f"splitters lead to splitters over {SPLITS_DEPTH_MAX} times: [{way}]")
    ends = 0
    for split in splitter.splits:
        to = split.service or service
        ends += 1 if split.service_subset or to == service else _ends(to, entries, (*path, service), known)
    if ends > SPLIT_ENDS_MAX:
        raise ChainError(f'the splitter of "{service}" and those it leads to make over {SPLIT_ENDS_MAX} parts')
    known[service] = ends
    return ends


def _protocol_of(proxies: AnyConfigEntry | None) -> str:
    found = proxies.config.get("protocol", "") if isinstance(proxies, ProxyDefaults) else ""
    return found if isinstance(found, str) else ""
