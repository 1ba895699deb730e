"""What config entries must be together: every discovery chain that a change touches has to make sense after it. Pure.

Called by the servers before they propose a change (`refuse_broken`), and for `chowk config diff` (`affected`). The texts are
Consul's, with what to do about it. Chains are walked here, not compiled: the compiler takes whatever is stored, since two
servers or releases may not have refused the same; this is the side that refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from chowk.core.errors import InvalidRequest
from chowk.core.records.config_entry import AnyConfigEntry, ProxyDefaults, ServiceDefaults
from chowk.core.records.resolver import FailoverTarget, ResolverFailover, ServiceResolver
from chowk.core.records.router import ServiceRouter
from chowk.core.records.splitter import ServiceSplitter

Key: TypeAlias = tuple[str, str]
Entries: TypeAlias = Mapping[Key, AnyConfigEntry]
"""By (kind, name)."""

PROTOCOL: Final = "tcp"
HTTP_LIKE: Final = ("http", "http2", "grpc")
GLOBAL: Final = (ProxyDefaults.kind, "global")
DEPTH_MAX: Final = 32
"""Splitters lead to splitters, and redirects to redirects, no further."""
TOLD_MAX: Final = 8
_SHAPING: Final = (ServiceRouter.kind, ServiceSplitter.kind, ServiceResolver.kind)


class _Broken(Exception):
    """Why a chain makes no sense; ends the walk."""


class _Place(NamedTuple):
    """Instances as a resolver is asked for them; "" is the default subset, and the own datacenter."""

    service: str
    subset: str = ""
    datacenter: str = ""

    def __str__(self) -> str:
        return ".".join(part for part in (self.subset, self.service, self.datacenter) if part)


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
    found = []
    for name in affected(entries, after, changes):
        text = fault(name, after)
        if text and text != fault(name, entries):
            found.append(text)
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


def fault(service: str, entries: Entries) -> str:
    """Why the chain of `service` makes no sense, "" when it does."""
    try:
        _Walk(service, entries).run()
    except _Broken as broken:
        return str(broken)
    return ""


def protocol(service: str, entries: Entries) -> str:
    """What a service speaks: its own word, that of all proxies, or tcp."""
    defaults = entries.get((ServiceDefaults.kind, service))
    own = defaults.protocol if isinstance(defaults, ServiceDefaults) else ""
    return own or _protocol_of(entries.get(GLOBAL)) or PROTOCOL


def _protocol_of(proxies: AnyConfigEntry | None) -> str:
    found = proxies.config.get("protocol", "") if isinstance(proxies, ProxyDefaults) else ""
    return found if isinstance(found, str) else ""


class _Walk:
    """One chain, from its start to its ends."""

    def __init__(self, service: str, entries: Entries) -> None:
        self._service = service
        self._entries = entries
        self._protocol = protocol(service, entries)
        self._split: set[str] = set()
        self._resolved: set[_Place] = set()

    def run(self) -> None:
        router = self._entries.get((ServiceRouter.kind, self._service))
        if isinstance(router, ServiceRouter) and router.routes:
            self._needs_http()
            for route in router.routes:
                to = route.destination
                if to is None or to.redirect is not None:
                    continue
                self._to(_Place(to.service or self._service, to.service_subset))
                if to.mirror is not None:
                    self._to(_Place(to.mirror.service, to.mirror.service_subset))
        self._to(_Place(self._service))

    def _needs_http(self) -> None:
        if self._protocol not in HTTP_LIKE:
            raise _Broken(
                f'discovery chain "{self._service}" uses a protocol "{self._protocol}" that does not permit advanced '
                f'routing or splitting behavior: say protocol = "http" in the service-defaults of "{self._service}", '
                "and of the services it leads to"
            )

    def _to(self, place: _Place, path: tuple[str, ...] = ()) -> None:
        """Where a subset is named there is no more splitting."""
        if not place.subset and self._splits(place.service, path):
            return
        self._resolve(place)

    def _splits(self, service: str, path: tuple[str, ...]) -> bool:
        """Whether there is a splitter of the service; all it leads to has been walked then."""
        splitter = self._entries.get((ServiceSplitter.kind, service))
        if not isinstance(splitter, ServiceSplitter) or not splitter.splits:
            return False
        if service in path:
            raise _Broken(f"detected circular reference: [{' -> '.join((*path[path.index(service) :], service))}]")
        if service in self._split:
            return True
        if len(path) >= DEPTH_MAX:
            raise _Broken(f'discovery chain "{self._service}" splits over {DEPTH_MAX} times, one after the other')
        self._needs_http()
        self._same_protocol(service)
        for split in splitter.splits:
            to = split.service or service
            if to == service:
                self._resolve(_Place(to, split.service_subset))
            else:
                self._to(_Place(to, split.service_subset), (*path, service))
        self._split.add(service)
        return True

    def _same_protocol(self, service: str) -> None:
        found = protocol(service, self._entries)
        if found != self._protocol:
            raise _Broken(
                f'discovery chain "{self._service}" uses inconsistent protocols; service "{service}" has "{found}" '
                f'which is not "{self._protocol}"'
            )

    def _resolve(self, place: _Place) -> None:
        place, resolver = self._end(place)
        if resolver is None or place in self._resolved:
            return
        self._resolved.add(place)
        failover = resolver.failover.get(place.subset) or resolver.failover.get("*")
        for target in _targets(failover) if failover is not None else ():
            service = target.service or place.service
            kept = place.subset if service == place.service else ""
            self._end(_Place(service, target.service_subset or kept, target.datacenter or place.datacenter))

    def _end(self, place: _Place) -> tuple[_Place, ServiceResolver | None]:
        place, resolver = self._redirected(place)
        self._same_protocol(place.service)
        return place, resolver

    def _redirected(self, place: _Place) -> tuple[_Place, ServiceResolver | None]:
        """Where redirects and default subsets end, and the resolver there."""
        history: list[_Place] = []
        while True:
            resolver = self._entries.get((ServiceResolver.kind, place.service))
            if not isinstance(resolver, ServiceResolver):
                resolver = None
            if place in history or len(history) >= DEPTH_MAX:
                way = " -> ".join(map(str, (*history[-DEPTH_MAX:], place)))
                raise _Broken(f"detected circular resolver redirect: [{way}]")
            history.append(place)
            to = resolver.redirect if resolver is not None else None
            if to is not None:
                service = to.service or place.service
                kept = place.subset if service == place.service else ""
                next_place = _Place(service, to.service_subset or kept, to.datacenter or place.datacenter)
                if next_place != place:
                    place = next_place
                    continue
            if resolver is not None and not place.subset and resolver.default_subset:
                place = place._replace(subset=resolver.default_subset)
                continue
            if place.subset and (resolver is None or place.subset not in resolver.subsets):
                known = ", ".join(sorted(resolver.subsets)) if resolver is not None else ""
                raise _Broken(
                    f'service "{place.service}" does not have a subset named "{place.subset}" (it has: {known or "none"}), '
                    f'which discovery chain "{self._service}" leads to'
                )
            return place, resolver


def _targets(failover: ResolverFailover) -> tuple[FailoverTarget, ...]:
    """The older form as targets."""
    if failover.targets:
        return failover.targets
    return tuple(
        FailoverTarget(service=failover.service, service_subset=failover.service_subset, datacenter=datacenter)
        for datacenter in failover.datacenters or ("",)
    )
