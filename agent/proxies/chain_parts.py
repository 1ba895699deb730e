"""Routes and clusters of compiled chains, made once for all sidecars that ask for the same. Pure.

Made by `mesh_view` anew whenever the entries change; asked by `snapshots` for each upstream of each sidecar.
"""

from __future__ import annotations

from typing import Final

import msgspec

from chowk.connect.chain.routes import clusters_of, routes_of
from chowk.connect.snapshot import Cluster, HttpRoute, Limits, Locality, Outlier
from chowk.core.records.chain import CompiledChain

KEPT_MAX: Final = 4096
"""Of each; beyond that all are forgotten, and made again."""


class Terms(msgspec.Struct, frozen=True):
    """How a sidecar dials an upstream. `connect_timeout_s` 0: as the chain says."""

    here: Locality
    allowed_regions: tuple[str, ...]
    limits: Limits
    outlier: Outlier
    connect_timeout_s: float


class ChainParts:
    """What is handed out is shared, and never changed. A chain is known by its identity, and kept as long as its parts."""

    def __init__(self) -> None:
        self._routes: dict[int, tuple[CompiledChain, tuple[HttpRoute, ...]]] = {}
        self._clusters: dict[tuple[int, Terms], tuple[CompiledChain, dict[str, Cluster]]] = {}

    def routes(self, chain: CompiledChain) -> tuple[HttpRoute, ...]:
        """`routes_of` this chain."""
        kept = self._routes.get(id(chain))
        if kept is None:
            if len(self._routes) >= KEPT_MAX:
                self._routes.clear()
            kept = self._routes[id(chain)] = (chain, routes_of(chain))
        return kept[1]

    def clusters(self, chain: CompiledChain, terms: Terms) -> dict[str, Cluster]:
        """`clusters_of` this chain, on these terms."""
        key = (id(chain), terms)
        kept = self._clusters.get(key)
        if kept is None:
            if len(self._clusters) >= KEPT_MAX:
                self._clusters.clear()
            kept = self._clusters[key] = (chain, _clusters(chain, terms))
        return kept[1]


def _clusters(chain: CompiledChain, terms: Terms) -> dict[str, Cluster]:
    clusters = clusters_of(chain, terms.here, terms.allowed_regions, terms.limits, terms.outlier)
    if not terms.connect_timeout_s:
        return clusters
    return {
        name: msgspec.structs.replace(cluster, connect_timeout_s=terms.connect_timeout_s)
        for name, cluster in clusters.items()
    }
