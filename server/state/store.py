"""The tables of the replicated store and their secondary indexes. Written by `catalog`, `entries` and `authority` only, all
called by `machine`; read by `queries`, `topics` and the snapshot. Nothing here knows of commands, events or time.

Nodes are keyed by their lower-case name, services and checks by (that key, id). The indexes are dicts used as ordered sets.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from chowk.core.events import KEY, KEY_PREFIX, ServiceSummary, Topic
from chowk.core.records.autopilot import AutopilotConfiguration
from chowk.core.records.base import Indexed
from chowk.core.records.ca import CAConfiguration, CARoot, CARoots
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import AnyConfigEntry
from chowk.core.records.coordinate import NodeCoordinate
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.server.state.changed import LastChanged
from chowk.server.state.kv_table import KVTable
from chowk.server.state.outcomes import Outcomes
from chowk.server.state.prepared_query_table import PreparedQueryTable
from chowk.server.state.session_table import SessionTable
from chowk.server.state.sessions import Sessions
from chowk.server.state.staging import Staging
from chowk.server.state.summaries import Tally
from chowk.server.state.virtual_ips import VirtualIPs

Key: TypeAlias = tuple[str, str]
"""(node key, service or check id); of a config entry (kind, name)."""
K = TypeVar("K")
M = TypeVar("M")
R = TypeVar("R", bound=Indexed)
CLUSTER_ID = "cluster_id"
LET_GO_MAX: Final = 500


class Store:
    """All of it. `index` is the last applied Raft index."""

    def __init__(self) -> None:
        self.index = 0
        self.commands = 1
        """The newest COMMANDS_VERSION that anything here came by: a release that knows less would lose a part of it."""
        self.nodes: dict[str, Node] = {}
        self.node_ids: dict[str, str] = {}
        self.services: dict[Key, NodeService] = {}
        self.checks: dict[Key, HealthCheck] = {}
        self.services_of_node: dict[str, dict[Key, None]] = {}
        self.checks_of_node: dict[str, dict[Key, None]] = {}
        self.checks_of_service: dict[Key, dict[Key, None]] = {}
        """By instance; a node's own checks are under the service id ""."""
        self.by_service: dict[str, dict[Key, None]] = {}
        self.by_mesh: dict[str, dict[Key, None]] = {}
        self.by_address: dict[str, dict[Key, None]] = {}
        self.tallies: dict[str, Tally] = {}
        self.spellings: dict[str, dict[str, None]] = {}
        self.entries: dict[Key, AnyConfigEntry] = {}
        self.coordinates: dict[str, NodeCoordinate] = {}
        self.roots: tuple[CARoot, ...] = ()
        self.roots_index = 0
        self.ca_configuration: CAConfiguration | None = None
        self.metadata: dict[str, str] = {}
        self.virtual_ips = VirtualIPs()
        self.kv = KVTable()
        self.session_table = SessionTable()
        self.sessions = Sessions()
        """Who wrote what, for retries: nothing to do with the sessions that hold locks, which are in `session_table`."""
        self.outcomes = Outcomes()
        self.prepared_queries = PreparedQueryTable()
        self.changed = LastChanged()
        self.autopilot: AutopilotConfiguration | None = None
        self.staging: Staging | None = None
        """A snapshot that is being restored, as far as it has come."""
        self.left: list[dict[Any, Any] | list[Any]] = []
        """Tables of a state that a restore replaced, and keys that were removed by the thousand: not freed yet."""
        self.restored_at = 0
        """The index at which a snapshot replaced everything: nothing changed before it, as far as anybody can tell."""

    @property
    def cluster_id(self) -> str:
        """The trust domain's UUID, "" before the first leader set it."""
        return self.metadata.get(CLUSTER_ID, "")

    def put_node(self, node: Node) -> None:
        """Write a node, keeping the indexes right."""
        key = node.node.lower()
        self.drop_node(key)
        self.nodes[key] = node
        if node.id:
            self.node_ids[node.id] = key
        _add(self.by_address, node.address, (key, ""))

    def drop_node(self, key: str) -> None:
        """Remove the node's row alone."""
        old = self.nodes.pop(key, None)
        if old is not None:
            if self.node_ids.get(old.id) == key:
                del self.node_ids[old.id]
            _remove(self.by_address, old.address, (key, ""))

    def put_service(self, node_key: str, service: NodeService) -> None:
        """Write an instance, keeping the indexes right."""
        key = (node_key, service.id)
        self.drop_service(key)
        self.services[key] = service
        _add(self.services_of_node, node_key, key)
        _add(self.by_service, service.service.lower(), key)
        if service.mesh_name:
            _add(self.by_mesh, service.mesh_name.lower(), key)
        if service.address:
            _add(self.by_address, service.address, key)
        self.tallies.setdefault(service.service, Tally()).add(service)
        _add(self.spellings, service.service.lower(), service.service)

    def drop_service(self, key: Key) -> None:
        """Remove the instance's row alone."""
        old = self.services.pop(key, None)
        if old is None:
            return
        _remove(self.services_of_node, key[0], key)
        _remove(self.by_service, old.service.lower(), key)
        _remove(self.by_mesh, old.mesh_name.lower(), key)
        _remove(self.by_address, old.address, key)
        tally = self.tallies[old.service]
        tally.remove(old)
        if not tally.instances:
            del self.tallies[old.service]
            _remove(self.spellings, old.service.lower(), old.service)

    def put_check(self, node_key: str, check: HealthCheck) -> None:
        """Write a check, keeping the indexes right."""
        key = (node_key, check.check_id)
        self.drop_check(key)
        self.checks[key] = check
        _add(self.checks_of_node, node_key, key)
        _add(self.checks_of_service, (node_key, check.service_id), key)

    def drop_check(self, key: Key) -> None:
        """Remove a check."""
        old = self.checks.pop(key, None)
        if old is not None:
            _remove(self.checks_of_node, key[0], key)
            _remove(self.checks_of_service, (key[0], old.service_id), key)

    def instance(self, key: Key) -> ServiceInstance:
        """The instance joined with its node, the node's own checks and its own, ordered by check id. It must exist."""
        rows = [*self.checks_of_service.get((key[0], ""), ()), *self.checks_of_service.get(key, ())]
        checks = tuple(self.checks[row] for row in sorted(rows))
        return ServiceInstance(node=self.nodes[key[0]], service=self.services[key], checks=checks)

    def trusted(self) -> CARoots:
        """The roots and the trust domain, as everyone may see them."""
        active = next((root.id for root in self.roots if root.active), "")
        domain = f"{self.cluster_id}.consul" if self.cluster_id else ""
        return CARoots(active_root_id=active, trust_domain=domain, roots=self.roots)

    def last_changed(self, *topics: Topic) -> int:
        """The newest change of `topics`; at least 1, for an index of 0 would not block."""
        return max(1, self.restored_at, *(self._last_changed(topic) for topic in topics))

    def become(self, other: Store) -> None:
        """Hold what `other` holds; it is of no more use then. What was held is let go by `let_go`."""
        left = self.left + self._tables()
        vars(self).update(vars(other))
        self.left = left

    def take_over(self, old: Store) -> None:
        """Come in the place of `old`, and let go of what it holds."""
        self.left = old.left + old._tables()

    def let_go(self) -> bool:
        """Free some of what this store took the place of; whether there is more. All at once it would take the loop a
        microsecond a row."""
        for _ in range(LET_GO_MAX):
            while self.left and not self.left[-1]:
                self.left.pop()
            if not self.left:
                return False
            table = self.left[-1]
            if isinstance(table, dict):
                table.popitem()
            else:
                table.pop()
        return True

    def _tables(self) -> list[dict[Any, Any] | list[Any]]:
        """Those that grow with the rows, but for who wrote what (`sessions`), which a restore keeps."""
        indexes = (self.services_of_node, self.checks_of_node, self.checks_of_service, self.by_service, self.by_mesh,
                   self.by_address, self.tallies, self.spellings, self.node_ids)  # fmt: skip
        return [
            self.nodes,
            self.services,
            self.checks,
            self.entries,
            self.coordinates,
            *indexes,
            *self.kv.tables(),
            self.changed.table(),
        ]

    def _last_changed(self, topic: Topic) -> int:
        if topic.kind == KEY:
            return self.kv.key_index(topic.key.encode("latin-1"))
        if topic.kind == KEY_PREFIX:
            return self.kv.prefix_index(topic.key.encode("latin-1"))
        return self.changed.index(topic)

    def summary(self, name: str) -> ServiceSummary | None:
        """The summary of the service spelled exactly so."""
        tally = self.tallies.get(name)
        if tally is None:
            return None
        lower = name.lower()
        return tally.summary(name, self.virtual_ips.address(lower) if lower in self.by_mesh else "")


def stamped(record: R, old: Indexed | None, index: int) -> R | None:
    """`record` with its indexes set for a write at `index`; None when it differs in nothing from `old`."""
    created = old.create_index if old is not None else index
    if old is not None and msgspec.structs.replace(record, create_index=created, modify_index=old.modify_index) == old:
        return None
    return msgspec.structs.replace(record, create_index=created, modify_index=index)


def _add(index: dict[K, dict[M, None]], key: K, member: M) -> None:
    index.setdefault(key, {})[member] = None


def _remove(index: dict[K, dict[M, None]], key: K, member: M) -> None:
    members = index.get(key)
    if members is not None:
        members.pop(member, None)
        if not members:
            del index[key]
