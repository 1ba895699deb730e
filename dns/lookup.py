"""What DNS asks of the registry. Implemented over the agent's views; answered from memory whenever that is possible.

Every method returns `None` when the answer is not known yet: the server then awaits `fetch` (which opens the view) and
asks again; when that fails the query is answered SERVFAIL. An empty answer is a real answer.
"""

from __future__ import annotations

from typing import Protocol

from chowk.core.events import ServiceSummary
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node


class Lookup(Protocol):
    """`generation` changes whenever any answer may have changed for that kind of question; caches compare it."""

    def datacenters(self) -> tuple[str, ...]: ...
    def instances(self, service: str, *, connect: bool) -> tuple[ServiceInstance, ...] | None: ...
    def summary(self, service: str) -> ServiceSummary | None: ...
    def node(self, name: str) -> Node | None: ...
    def nodes_known(self) -> bool: ...
    def by_address(self, address: str) -> tuple[tuple[Node, ...], tuple[ServiceInstance, ...]] | None: ...
    def generation(self, kind: str, key: str) -> int: ...
    async def fetch(self, kind: str, key: str) -> None:
        """Make `kind` (`health`, `connect`, `services`, `nodes`, `address`) of `key` known. ChowkError when it cannot."""
        ...
