"""What all sidecars of this host need of the mesh's configuration: entries, chains and endpoints, each computed once.

200 sidecars that call the same services share what is compiled. Made by the supervisor; asked by each sidecar's source.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from chowk.agent.proxies.bypasses import HostBypasses
from chowk.agent.proxies.chain_parts import ChainParts
from chowk.agent.proxies.snapshots import dialable
from chowk.agent.views.views import View, Views
from chowk.connect.chain.compile import ChainError, compile_chain, default_chain
from chowk.connect.chain.entries import KINDS, ChainEntries
from chowk.connect.snapshot import Endpoint
from chowk.core.events import CONFIG, ConfigItem, InstanceItem, Topic
from chowk.core.filter.expression import compile_filter
from chowk.core.filter.syntax import FilterError
from chowk.core.records.chain import ChainTarget, CompiledChain
from chowk.core.records.instance import ServiceInstance

log = structlog.get_logger("chowk.proxies")
TOPICS: Final = tuple(Topic(kind=CONFIG, key=kind) for kind in KINDS)
ENDPOINT_SETS_MAX: Final = 4096
"""Sets of endpoints that are kept: one a service and subset."""


class MeshView:
    """Follows the kinds of entries that shape chains."""

    def __init__(self, views: Views, bypasses: HostBypasses) -> None:
        self.views = views
        self.bypasses = bypasses
        self.sources = 0
        """How many sidecars' sources ask."""
        self.turn = asyncio.Lock()
        """Held while a source builds: between two of them the agent does its other work, and the first sidecars theirs."""
        self.parts = ChainParts()
        """What the chains of now come to."""
        self._entries: tuple[tuple[int, ...], ChainEntries] | None = None
        self._chains: dict[tuple[str, str, str], CompiledChain] = {}
        self._endpoints: dict[tuple[Topic, str, bool], tuple[int, tuple[Endpoint, ...]]] = {}
        self._complained: dict[str, str] = {}

    def entries(self) -> ChainEntries:
        """The entries as they are now; those of a kind that is not known yet are missing."""
        found = [self.views.view(topic) for topic in TOPICS]
        generations = tuple(view.generation for view in found)
        if self._entries is None or self._entries[0] != generations:
            items = (item.entry for view in found for item in view.items.values() if isinstance(item, ConfigItem))
            self._entries = (generations, ChainEntries(items))
            self._chains.clear()
            self.parts = ChainParts()
        return self._entries[1]

    def chains(self, keys: Iterable[tuple[str, str]], trust_domain: str) -> dict[tuple[str, str], CompiledChain]:
        """The chains of services in datacenters; where the entries make none, the plain one, and the log says why."""
        entries = self.entries()
        return {key: self._chain(*key, trust_domain, entries) for key in keys}

    def _chain(self, service: str, datacenter: str, trust_domain: str, entries: ChainEntries) -> CompiledChain:
        key = (service, datacenter, trust_domain)
        chain = self._chains.get(key)
        if chain is None:
            try:
                chain = compile_chain(service, datacenter, trust_domain, entries)
                self._complained.pop(service, None)
            except ChainError as error:
                self._complain(service, str(error))
                chain = default_chain(service, datacenter, trust_domain, entries)
            self._chains[key] = chain
        return chain

    def endpoints(self, view: View, target: ChainTarget) -> tuple[Endpoint, ...]:
        """Where the instances of a target may be dialled; `view` is of its service's mesh-capable instances."""
        subset = target.subset
        key = (view.topic, subset.filter, subset.only_passing)
        kept = self._endpoints.get(key)
        if kept is None or kept[0] != view.generation:
            if len(self._endpoints) >= ENDPOINT_SETS_MAX:
                self._endpoints.clear()
            kept = self._endpoints[key] = (view.generation, self._dialable(view, target))
        return kept[1]

    def _dialable(self, view: View, target: ChainTarget) -> tuple[Endpoint, ...]:
        instances = [item.instance for item in view.items.values() if isinstance(item, InstanceItem)]
        subset = target.subset
        if subset.filter:
            try:
                keeps: Callable[[ServiceInstance], bool] = compile_filter(subset.filter, ServiceInstance)
            except FilterError as error:
                self._complain(target.id, f"the filter of subset {target.service_subset}: {error}")
                return ()
            instances = [instance for instance in instances if keeps(instance)]
        return dialable(instances, only_passing=subset.only_passing)

    def _complain(self, what: str, why: str) -> None:
        if self._complained.get(what) != why:
            self._complained[what] = why
            log.error("config entries make no discovery chain", chain=what, error=why)
