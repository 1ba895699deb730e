"""Config entries to a `CompiledChain`: router, then splitter, then resolver, each where there is one. Pure.

Called by the servers (the discovery-chain endpoint, and before an entry is written) and by the agents, for the snapshots of
their proxies. One function for all, so that what is shown, checked and done is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from chowk.connect.chain.entries import L7_PROTOCOLS, ChainEntries, seconds
from chowk.core.chain_requests import ChainOverrides
from chowk.core.records.chain import (
    RESOLVER,
    ROUTER,
    SPLITTER,
    ChainFailover,
    ChainNode,
    ChainResolver,
    ChainRoute,
    ChainSplit,
    ChainTarget,
    CompiledChain,
)
from chowk.core.records.config_entry import AnyConfigEntry
from chowk.core.records.resolver import FailoverTarget, LocalityPriority, ResolverFailover, ServiceResolver, Subset
from chowk.core.records.router import Route, RouteDestination, RouteMatch
from chowk.core.records.splitter import Split
from chowk.core.records.traffic import HttpMatch

CONNECT_TIMEOUT_S: Final = 5.0
NONE: Final = ChainOverrides()
REDIRECTS_MAX: Final = 64
NODES_MAX: Final = 4096
ANY_SUBSET: Final = "*"


class ChainError(ValueError):
    """The entries make no chain; the text says why, in Consul's words where it has some."""


def compile_chain(
    service: str,
    datacenter: str,
    trust_domain: str,
    entries: ChainEntries | Iterable[AnyConfigEntry],
    overrides: ChainOverrides = NONE,
) -> CompiledChain:
    """The chain of `service`, from the entries that concern it. `trust_domain` is the mesh's. ChainError."""
    found = entries if isinstance(entries, ChainEntries) else ChainEntries(entries)
    return _Compiler(service, datacenter, trust_domain, found, overrides).compile()


def default_chain(service: str, datacenter: str, trust_domain: str, entries: ChainEntries) -> CompiledChain:
    """The chain as it would be without router, splitter and resolver: for when there is none otherwise."""
    kept: tuple[AnyConfigEntry, ...] = (*entries.defaults.values(), entries.proxies, entries.mesh)
    return compile_chain(service, datacenter, trust_domain, kept)


class _Compiler:
    """The work of one `compile_chain`."""

    def __init__(
        self, service: str, datacenter: str, trust_domain: str, entries: ChainEntries, overrides: ChainOverrides
    ) -> None:
        self._service = service
        self._datacenter = datacenter
        self._trust_domain = trust_domain
        self._entries = entries
        self._nodes: dict[str, ChainNode] = {}
        self._targets: dict[str, ChainTarget] = {}
        self._path: list[str] = []
        protocol, mode = entries.protocol(service), entries.gateway_mode(service)
        self._changed = ChainOverrides(
            protocol=_unless(overrides.protocol, protocol),
            connect_timeout_s=_unless_s(overrides.connect_timeout_s, self._connect_timeout_s(service)),
            mesh_gateway_mode=_unless(overrides.mesh_gateway_mode, mode),
        )
        self._protocol = self._changed.protocol or protocol

    def compile(self) -> CompiledChain:
        defaults = self._entries.defaults.get(self._service)
        start = self._start()
        return CompiledChain(
            service_name=self._service,
            datacenter=self._datacenter,
            customization_hash=_hash(self._changed),
            default=start.resolver is not None and start.resolver.default,
            protocol=self._protocol,
            service_meta=defaults.meta if defaults is not None else {},
            start_node=start.key,
            nodes=self._nodes,
            targets=self._targets,
        )

    def _start(self) -> ChainNode:
        router = self._entries.routers.get(self._service)
        if router is None or self._protocol_is_overridden_to_l4:
            return self._split_or_resolve(self._service)
        self._check_l7("router")
        catch_all = Route(
            match=RouteMatch(http=HttpMatch(path_prefix="/")), destination=RouteDestination(service=self._service)
        )
        routes = tuple(self._route(route) for route in (*router.routes, catch_all))
        return self._add(ChainNode(type=ROUTER, name=_name(self._service), routes=routes))

    def _route(self, route: Route) -> ChainRoute:
        destination = route.destination or RouteDestination()
        if destination.redirect is not None:
            return ChainRoute(definition=route, next_node="")
        service = destination.service or self._service
        self._check_protocol(service)
        mirror = ""
        if destination.mirror is not None:
            self._check_protocol(destination.mirror.service)
            mirror = self._resolve(destination.mirror.service, destination.mirror.service_subset).key
        if destination.service_subset:
            node = self._resolve(service, destination.service_subset)
        else:
            node = self._split_or_resolve(service)
        return ChainRoute(definition=route, next_node=node.key, mirror_node=mirror)

    def _split_or_resolve(self, service: str) -> ChainNode:
        splitter = self._entries.splitters.get(service)
        if splitter is None or self._protocol_is_overridden_to_l4:
            return self._resolve(service, "")
        known = self._nodes.get(f"{SPLITTER}:{_name(service)}")
        if known is not None:
            return known
        self._check_l7("splitter")
        if service in self._path:
            raise ChainError(f"detected circular reference: [{' -> '.join([*self._path, service])}]")
        self._path.append(service)
        splits: list[ChainSplit] = []
        for split in splitter.splits:
            splits += self._part(service, split)
        self._path.pop()
        return self._add(ChainNode(type=SPLITTER, name=_name(service), splits=tuple(splits), sticky=splitter.sticky))

    def _part(self, service: str, split: Split) -> list[ChainSplit]:
        """The parts that one split is: those of the splitter it leads to, in proportion, else itself."""
        wanted = split.service or service
        self._check_protocol(wanted)
        if split.service_subset or wanted == service:
            node = self._resolve(wanted, split.service_subset)
        else:
            node = self._split_or_resolve(wanted)
        request = (split.request_headers,) if split.request_headers is not None else ()
        response = (split.response_headers,) if split.response_headers is not None else ()
        if node.type != SPLITTER:
            return [
                ChainSplit(
                    definition=split,
                    weight=split.weight,
                    next_node=node.key,
                    request_edits=request,
                    response_edits=response,
                )
            ]
        return [
            msgspec.structs.replace(
                inner,
                weight=round(split.weight * inner.weight / 100, 2),
                request_edits=(*request, *inner.request_edits),
                response_edits=(*response, *inner.response_edits),
            )
            for inner in node.splits
        ]

    def _resolve(self, service: str, subset: str, datacenter: str = "") -> ChainNode:
        """The resolver of a service, or of the one that it is redirected to."""
        service, subset, datacenter = self._redirected(service, subset, datacenter or self._datacenter)
        target = self._target(service, subset, datacenter)
        known = self._nodes.get(f"{RESOLVER}:{target.id}")
        if known is not None:
            return known
        resolver = self._entries.resolvers.get(service)
        node = ChainNode(
            type=RESOLVER,
            name=target.id,
            resolver=ChainResolver(
                default=resolver is None,
                connect_timeout_s=self._changed.connect_timeout_s or self._connect_timeout_s(service),
                request_timeout_s=seconds(resolver.request_timeout) if resolver is not None else 0.0,
                target=target.id,
                failover=self._failover(resolver, target) if resolver is not None else None,
            ),
            load_balancer=resolver.load_balancer if resolver is not None else None,
            locality=self._locality(resolver),
        )
        return self._add(node)

    def _redirected(self, service: str, subset: str, datacenter: str) -> tuple[str, str, str]:
        seen: list[tuple[str, str, str]] = []
        while True:
            resolver = self._entries.resolvers.get(service)
            if not subset and resolver is not None:
                subset = resolver.default_subset
            if resolver is None or resolver.redirect is None:
                return service, subset, datacenter
            here = (service, subset, datacenter)
            if here in seen or len(seen) >= REDIRECTS_MAX:
                names = " -> ".join(_target_id(*each) for each in (*seen, here))
                raise ChainError(f"detected circular resolver redirect: [{names}]")
            seen.append(here)
            to = resolver.redirect
            following = (to.service or service, to.service_subset, to.datacenter or datacenter)
            if following == here:
                return here
            self._check_protocol(following[0])
            service, subset, datacenter = following

    def _failover(self, resolver: ServiceResolver, target: ChainTarget) -> ChainFailover | None:
        found = resolver.failover.get(target.service_subset) if target.service_subset else None
        found = found or resolver.failover.get(ANY_SUBSET)
        if found is None:
            return None
        ids = []
        for each in _places(found):
            service, datacenter = each.service or target.service, each.datacenter or target.datacenter
            subset = each.service_subset or (target.service_subset if service == target.service else "")
            self._check_protocol(service)
            other = self._target(*self._redirected(service, subset, datacenter))
            if other.id != target.id and other.id not in ids:
                ids.append(other.id)
        return ChainFailover(targets=tuple(ids), policy=found.policy) if ids or found.policy.regions else None

    def _target(self, service: str, subset: str, datacenter: str) -> ChainTarget:
        """The service's instances in `datacenter`. Names are Consul's: `<subset>.<service>.<namespace>.<partition>.<dc>`."""
        wanted = _target_id(service, subset, datacenter)
        known = self._targets.get(wanted)
        if known is not None:
            return known
        resolver = self._entries.resolvers.get(service)
        picked = Subset()
        if subset:
            if resolver is None or subset not in resolver.subsets:
                raise ChainError(f'service "{service}" does not have a subset named "{subset}"')
            picked = resolver.subsets[subset]
        prefix = f"{subset}." if subset else ""
        sni = f"{prefix}{service}.default.{datacenter}.internal.{self._trust_domain}"
        defaults = self._entries.defaults.get(service)
        external = defaults.external_sni if defaults is not None else ""
        self._targets[wanted] = ChainTarget(
            id=wanted,
            service=service,
            service_subset=subset,
            datacenter=datacenter,
            subset=picked,
            mesh_gateway_mode=self._changed.mesh_gateway_mode or self._entries.gateway_mode(service),
            external=bool(external),
            sni=external or sni,
            name=sni,
        )
        return self._targets[wanted]

    @property
    def _protocol_is_overridden_to_l4(self) -> bool:
        return bool(self._changed.protocol) and self._changed.protocol not in L7_PROTOCOLS

    def _check_l7(self, what: str) -> None:
        if self._protocol not in L7_PROTOCOLS:
            raise ChainError(
                f'discovery chain "{self._service}" uses a protocol "{self._protocol}" that does not permit advanced '
                f"routing or splitting behavior (its {what} needs http: set protocol in service-defaults)"
            )

    def _check_protocol(self, service: str) -> None:
        """All of a chain speak one protocol."""
        spoken = self._entries.protocol(service)
        if service != self._service and not self._changed.protocol and spoken != self._protocol:
            raise ChainError(
                f'discovery chain "{self._service}" uses inconsistent protocols; service "{service}" has "{spoken}" '
                f'which is not "{self._protocol}"'
            )

    def _locality(self, resolver: ServiceResolver | None) -> LocalityPriority | None:
        own = resolver.prioritize_by_locality if resolver is not None else None
        everyones = self._entries.proxies.prioritize_by_locality
        return own or (everyones if everyones.mode else None)

    def _connect_timeout_s(self, service: str) -> float:
        resolver = self._entries.resolvers.get(service)
        return (seconds(resolver.connect_timeout) if resolver is not None else 0.0) or CONNECT_TIMEOUT_S

    def _add(self, node: ChainNode) -> ChainNode:
        if len(self._nodes) >= NODES_MAX:
            raise ChainError(f'discovery chain "{self._service}" has more than {NODES_MAX} nodes')
        return self._nodes.setdefault(node.key, node)


def _places(failover: ResolverFailover) -> tuple[FailoverTarget, ...]:
    """The targets, also where they are written in the older form."""
    if failover.targets:
        return failover.targets
    subset, service = failover.service_subset, failover.service
    if failover.datacenters:
        return tuple(
            FailoverTarget(service=service, service_subset=subset, datacenter=each) for each in failover.datacenters
        )
    return (FailoverTarget(service=service, service_subset=subset),) if service or subset else ()


def _name(service: str) -> str:
    return f"{service}.default.default"


def _target_id(service: str, subset: str, datacenter: str) -> str:
    return f"{subset}.{_name(service)}.{datacenter}" if subset else f"{_name(service)}.{datacenter}"


def _unless(wanted: str, same: str) -> str:
    return "" if wanted == same else wanted


def _unless_s(wanted: float, same: float) -> float:
    return 0.0 if wanted == same else wanted


def _hash(changed: ChainOverrides) -> str:
    """8 hexadecimal digits of the overrides that made a difference, "" when none did."""
    if changed == NONE:
        return ""
    text = f"{changed.protocol}\0{changed.connect_timeout_s!r}\0{changed.mesh_gateway_mode}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]
