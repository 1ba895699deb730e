"""What DNS asks of the registry. Implemented over the agent's views; answered from memory whenever that is possible.

Every method returns `None` when the answer is not known yet: the server then awaits `fetch` (which opens the view) and
asks again; when that fails the query is answered SERVFAIL. An empty answer is a real answer.
"""

from __future__ import annotations

from typing import Protocol

from chowk.core.events import ServiceSummary
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.prepared_query import PreparedQuery


class Lookup(Protocol):
    """`generation` changes whenever any answer may have changed for that kind of question; caches compare it.

    `epoch` changes whenever any generation may have, but for those of kinds that are of no view (`address`).
    """

    @property
    def epoch(self) -> int: ...
    def datacenters(self) -> tuple[str, ...]: ...
    def instances(self, service: str, *, connect: bool) -> tuple[ServiceInstance, ...] | None: ...
    def summary(self, service: str) -> ServiceSummary | None: ...
    def node(self, name: str) -> Node | None: ...
    def nodes_known(self) -> bool: ...
    def query(self, name: str) -> PreparedQuery | None: ...
    def queries_known(self) -> bool: ...
    def by_address(self, address: str) -> tuple[tuple[Node, ...], tuple[ServiceInstance, ...]] | None: ...
    def generation(self, kind: str, key: str) -> int: ...
    async def fetch(self, kind: str, key: str) -> None:
        """Make `kind` (`health`, `connect`, `services`, `nodes`, `address`, `prepared-queries` with the instances that the
        query is of) of `key` known. ChowkError when it cannot."""
        ...
