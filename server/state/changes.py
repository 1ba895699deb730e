"""What one command touches, from which its events follow: each thing is remembered as it was before, and compared with what
it is after. Made by `machine` for each command, filled by `catalog`, `entries` and `authority`.
"""

from __future__ import annotations

from collections.abc import Iterator

from chowk.connect.intentions.flat import flatten
from chowk.core.events import (
    CONFIG,
    CONNECT,
    HEALTH,
    INTENTIONS,
    NODE_SERVICES,
    ROOTS,
    ConfigItem,
    Event,
    InstanceItem,
    IntentionItem,
    NodeItem,
    NodeServiceItem,
    Payload,
    RootsItem,
    ServiceSummary,
    SummaryItem,
    Topic,
)  # fmt: skip
from chowk.core.records.ca import CARoots
from chowk.core.records.config_entry import AnyConfigEntry, ServiceIntentions
from chowk.core.records.intention import Intention
from chowk.core.records.node import Node
from chowk.core.records.prepared_query import PreparedQuery
from chowk.core.records.service import NodeService
from chowk.server.state.changed import (
    ALL_NODES,
    ALL_SERVICES,
    ANY_CHECK,
    ANY_ENTRY,
    ANY_INSTANCE,
    ANY_INTENTION,
    NODE,
)  # fmt: skip
from chowk.server.state.prepared_query_table import ALL_QUERIES, item_of
from chowk.server.state.store import Key, Store


class Changes:
    """Call the `touch_` methods before changing the store; `finish` after."""

    def __init__(self, store: Store, index: int, time_s: float) -> None:
        self.index = index
        self.time_s = time_s
        self._store = store
        self._nodes: dict[str, Node | None] = {}
        self._instances: dict[Key, NodeService | None] = {}
        self._summaries: dict[str, ServiceSummary | None] = {}
        self._entries: dict[Key, AnyConfigEntry | None] = {}
        self._queries: dict[str, PreparedQuery | None] = {}
        self._roots_before: CARoots | None = None
        self._topics: set[Topic] = set()
        self._gone: set[Topic] = set()
        self._keys: list[Topic] = []

    def touch_topic(self, topic: Topic) -> None:
        """Something that only queries ask for changed."""
        self._topics.add(topic)

    def touch_gone(self, topic: Topic) -> None:
        """Nothing is left of what only queries ask for."""
        self._gone.add(topic)

    def touch_keys(self, topic: Topic) -> None:
        """A key of KV, or a tree of them, will change. Their table itself knows when; here it is only told on."""
        self._keys.append(topic)

    def touch_node(self, key: str) -> None:
        """The node, and so every instance of it, will change."""
        self._nodes.setdefault(key, self._store.nodes.get(key))
        for row in self._store.services_of_node.get(key, ()):
            self.touch_instance(row, None)

    def touch_instance(self, key: Key, new: NodeService | None) -> None:
        """The instance, its node or one of its checks will change; `new` is what will be written, when the instance is."""
        old = self._store.services.get(key)
        self._instances.setdefault(key, old)
        for service in (old, new):
            if service is not None:
                names = {service.service, *self._store.spellings.get(service.mesh_name.lower(), ())}
                for name in names:
                    if name not in self._summaries:
                        self._summaries[name] = self._store.summary(name)

    def touch_check(self, node_key: str, service_id: str) -> None:
        """A check of the node (`service_id` "") or of one instance will change."""
        self._topics.update((ANY_CHECK, Topic(kind=NODE, key=node_key)))
        rows = self._store.services_of_node.get(node_key, ()) if not service_id else ((node_key, service_id),)
        for row in rows:
            if row in self._store.services:
                self.touch_instance(row, None)

    def touch_entry(self, key: Key) -> None:
        """A config entry will change."""
        self._entries.setdefault(key, self._store.entries.get(key))

    def touch_query(self, id: str) -> None:
        """A prepared query will change."""
        self._queries.setdefault(id, self._store.prepared_queries.records.get(id))

    def touch_roots(self) -> None:
        """The roots or the trust domain will change."""
        self._roots_before = self._roots_before or self._store.trusted()

    def finish(self) -> tuple[tuple[Event, ...], frozenset[Topic]]:
        """The events, ordered, and every topic that changed; the store's last-changed indexes are brought up to date."""
        if self._is_of_keys_alone():
            return (), frozenset(self._keys)
        gone = self._gone
        events = sorted(
            (
                *self._of_nodes(gone),
                *self._of_instances(gone),
                *self._of_summaries(),
                *self._of_entries(gone),
                *self._of_queries(),
                *self._of_roots(),
            ),
            key=lambda event: (event.topic, event.key),
        )
        topics = self._topics | {event.topic for event in events}
        self._store.changed.mark(topics, self.index)
        for topic in sorted(gone):
            self._store.changed.mark_gone(topic, self.index)
        topics.update(self._keys)
        return tuple(events), frozenset(topics)

    def _is_of_keys_alone(self) -> bool:
        """Most writes are: keys have no events, and are marked in their own table."""
        return not (
            self._nodes or self._instances or self._summaries or self._entries or self._queries
            or self._topics or self._gone or self._roots_before
        )  # fmt: skip

    def _event(self, topic: Topic, key: str, payload: Payload | None) -> Event:
        return Event(topic=topic, key=key, index=self.index, payload=payload)

    def _of_nodes(self, gone: set[Topic]) -> Iterator[Event]:
        for key, old in self._nodes.items():
            new = self._store.nodes.get(key)
            if new is None:
                # Also of one that a transaction both made and removed: what its checks marked must not stay for ever.
                gone.update((Topic(kind=NODE, key=key), Topic(kind=NODE_SERVICES, key=key)))
            if new == old:
                continue
            self._topics.update((Topic(kind=NODE, key=key), ANY_INSTANCE))
            if new is not None:
                yield self._event(ALL_NODES, new.node, NodeItem(node=new))
            elif old is not None:
                yield self._event(ALL_NODES, old.node, None)

    def _of_instances(self, gone: set[Topic]) -> Iterator[Event]:
        store = self._store
        for key, old in self._instances.items():
            new = store.services.get(key)
            node_key, service_id = key
            node = store.nodes.get(node_key) or self._nodes.get(node_key)
            item_key = f"{node.node if node else node_key}/{service_id}"
            self._topics.update((Topic(kind=NODE, key=node_key), ANY_INSTANCE))
            if new != old:
                payload = NodeServiceItem(service=new) if new is not None else None
                yield self._event(Topic(kind=NODE_SERVICES, key=node_key), service_id, payload)
            before, after = _topics_of(old), _topics_of(new)
            for topic in before - after:
                yield self._event(topic, item_key, None)
                if topic.key not in (store.by_service if topic.kind == HEALTH else store.by_mesh):
                    gone.add(topic)
            if after:
                instance = InstanceItem(instance=store.instance(key))
                for topic in after:
                    yield self._event(topic, item_key, instance)

    def _of_summaries(self) -> Iterator[Event]:
        for name, old in self._summaries.items():
            new = self._store.summary(name)
            if new != old:
                yield self._event(ALL_SERVICES, name, SummaryItem(summary=new) if new is not None else None)

    def _of_entries(self, gone: set[Topic]) -> Iterator[Event]:
        for (kind, name), old in self._entries.items():
            new = self._store.entries.get((kind, name))
            if new == old:
                continue
            self._topics.add(ANY_ENTRY)
            yield self._event(Topic(kind=CONFIG, key=kind), name, ConfigItem(entry=new) if new is not None else None)
            if kind == ServiceIntentions.kind:
                self._topics.add(ANY_INTENTION)
                if new is None:
                    gone.add(Topic(kind=INTENTIONS, key=name))
                yield from self._of_intentions(name, _flat(old), _flat(new))

    def _of_intentions(self, name: str, old: dict[str, Intention], new: dict[str, Intention]) -> Iterator[Event]:
        topic = Topic(kind=INTENTIONS, key=name)
        for source in {**old, **new}:
            found = new.get(source)
            if found != old.get(source):
                yield self._event(
                    topic, f"{source}/{name}", IntentionItem(intention=found) if found is not None else None
                )

    def _of_queries(self) -> Iterator[Event]:
        for id, old in self._queries.items():
            new = self._store.prepared_queries.records.get(id)
            if new != old:
                yield self._event(ALL_QUERIES, id, item_of(new) if new is not None else None)

    def _of_roots(self) -> Iterator[Event]:
        if (before := self._roots_before) is None or before == (after := self._store.trusted()):
            return
        topic = Topic(kind=ROOTS)
        self._topics.add(topic)
        if after.roots:
            yield self._event(topic, "", RootsItem(roots=after))
        elif before.roots:
            yield self._event(topic, "", None)


def _topics_of(service: NodeService | None) -> set[Topic]:
    if service is None:
        return set()
    topics = {Topic(kind=HEALTH, key=service.service.lower())}
    if service.mesh_name:
        topics.add(Topic(kind=CONNECT, key=service.mesh_name.lower()))
    return topics


def _flat(entry: AnyConfigEntry | None) -> dict[str, Intention]:
    return {each.source_name: each for each in flatten(entry)} if isinstance(entry, ServiceIntentions) else {}
