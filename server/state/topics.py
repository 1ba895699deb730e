"""The items a topic holds now: the snapshot a subscription begins with. Called by the wiring of `server.stream`."""

from __future__ import annotations

from collections.abc import Iterator

from chowk.connect.intentions.flat import flatten
from chowk.core.events import (
    CONFIG,
    CONNECT,
    HEALTH,
    INTENTIONS,
    NODE_SERVICES,
    NODES,
    QUERIES,
    ROOTS,
    SERVICES,
    ConfigItem,
    InstanceItem,
    IntentionItem,
    NodeItem,
    NodeServiceItem,
    Payload,
    RootsItem,
    SummaryItem,
    Topic,
)  # fmt: skip
from chowk.core.records.config_entry import ServiceIntentions
from chowk.core.records.intention import ANY
from chowk.server.state.prepared_query_table import item_of
from chowk.server.state.store import Store

KINDS = frozenset((HEALTH, CONNECT, SERVICES, NODES, NODE_SERVICES, INTENTIONS, CONFIG, ROOTS, QUERIES))
_WITHOUT_CASE = frozenset((HEALTH, CONNECT, NODE_SERVICES))


def canonical(topic: Topic) -> Topic:
    """The topic under which events of what a subscriber asks for are published."""
    return Topic(kind=topic.kind, key=topic.key.lower()) if topic.kind in _WITHOUT_CASE else topic


def items(store: Store, topic: Topic) -> dict[str, Payload]:
    """Item key -> payload, of a canonical topic. A kind that is not one has no items."""
    return dict(_items(store, topic))


def _items(store: Store, topic: Topic) -> Iterator[tuple[str, Payload]]:
    match topic.kind:
        case "health":
            yield from _instances(store, store.by_service, topic.key)
        case "connect":
            yield from _instances(store, store.by_mesh, topic.key)
        case "services":
            for name in store.tallies:
                summary = store.summary(name)
                if summary is not None:
                    yield name, SummaryItem(summary=summary)
        case "nodes":
            for node in store.nodes.values():
                yield node.node, NodeItem(node=node)
        case "node-services":
            for row in store.services_of_node.get(topic.key, ()):
                yield row[1], NodeServiceItem(service=store.services[row])
        case "intentions":
            for name in dict.fromkeys((topic.key, ANY)):
                entry = store.entries.get((ServiceIntentions.kind, name))
                for intention in flatten(entry) if isinstance(entry, ServiceIntentions) else ():
                    yield f"{intention.source_name}/{name}", IntentionItem(intention=intention)
        case "config":
            for (kind, name), entry in store.entries.items():
                if kind == topic.key:
                    yield name, ConfigItem(entry=entry)
        case "prepared-queries":
            for id, query in store.prepared_queries.records.items():
                yield id, item_of(query)
        case "roots" if store.roots:
            yield "", RootsItem(roots=store.trusted())


def _instances(store: Store, index: dict[str, dict[tuple[str, str], None]], key: str) -> Iterator[tuple[str, Payload]]:
    for row in sorted(index.get(key, ())):
        instance = store.instance(row)
        yield instance.key, InstanceItem(instance=instance)
