"""What can be asked of the store. Pure; each function returns records in a settled order. Called by `server.rpc`.

Beside each stand the topics whose change may change the answer: what a blocking query compares and waits for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chowk.connect.intentions.flat import flatten, in_order
from chowk.core.events import CONFIG, CONNECT, HEALTH, INTENTIONS, NODE_SERVICES, ServiceSummary, Topic
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import AnyConfigEntry, ServiceIntentions
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.intention import ANY, Intention
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.server.state.changed import ANY_ENTRY, ANY_INTENTION, NODE
from chowk.server.state.store import Store

ANY_STATE = "any"


def health_topic(service: str, *, connect: bool = False) -> Topic:
    """The topic of a service's instances, or of those that take its mesh traffic."""
    return Topic(kind=CONNECT if connect else HEALTH, key=service.lower())


def node_topic(name: str) -> Topic:
    """The topic of a node with its services and checks."""
    return Topic(kind=NODE, key=name.lower())


def node_services_topic(name: str) -> Topic:
    """The topic of a node's services."""
    return Topic(kind=NODE_SERVICES, key=name.lower())


def intention_topics(destinations: Iterable[str]) -> tuple[Topic, ...]:
    """The topics of the intentions towards any of `destinations`."""
    return tuple(Topic(kind=INTENTIONS, key=name) for name in dict.fromkeys((*destinations, ANY)))


def entries_topic(kind: str) -> Topic:
    """The topic of the entries of a kind, or of all when it is ""."""
    return Topic(kind=CONFIG, key=kind) if kind else ANY_ENTRY


def intentions_topic() -> Topic:
    """The topic of all intentions."""
    return ANY_INTENTION


def nodes(store: Store) -> tuple[Node, ...]:
    """All nodes, by name."""
    return tuple(store.nodes[key] for key in sorted(store.nodes))


def node(store: Store, name: str) -> Node | None:
    """One node."""
    return store.nodes.get(name.lower())


def summaries(store: Store) -> tuple[ServiceSummary, ...]:
    """All services, by name."""
    found = (store.summary(name) for name in sorted(store.tallies))
    return tuple(summary for summary in found if summary is not None)


def summaries_on(store: Store, node_meta: Sequence[tuple[str, str]]) -> tuple[ServiceSummary, ...]:
    """The services of the nodes that have all of `node_meta`, by name, each with the tags it has there."""
    tags: dict[str, set[str]] = {}
    for key, node in store.nodes.items():
        if all(node.meta.get(name) == value for name, value in node_meta):
            for row in store.services_of_node.get(key, ()):
                service = store.services[row]
                tags.setdefault(service.service, set()).update(service.tags)
    return tuple(ServiceSummary(service=name, tags=tuple(sorted(found))) for name, found in sorted(tags.items()))


def instances(store: Store, service: str, *, connect: bool) -> tuple[ServiceInstance, ...]:
    """The instances of a service, or those that take its mesh traffic, by node name, then service id."""
    index = store.by_mesh if connect else store.by_service
    return tuple(store.instance(row) for row in sorted(index.get(service.lower(), ())))


def services_of(store: Store, name: str) -> tuple[NodeService, ...]:
    """The services of a node, by id."""
    return tuple(store.services[row] for row in sorted(store.services_of_node.get(name.lower(), ())))


def checks_of(store: Store, name: str) -> tuple[HealthCheck, ...]:
    """All checks of a node and its services, by id."""
    return tuple(store.checks[row] for row in sorted(store.checks_of_node.get(name.lower(), ())))


def checks_of_service(store: Store, service: str) -> tuple[HealthCheck, ...]:
    """The checks of all instances of a service, without those of their nodes; by node name, then check id."""
    rows = (
        row
        for instance in store.by_service.get(service.lower(), ())
        for row in store.checks_of_service.get(instance, ())
    )
    return tuple(store.checks[row] for row in sorted(rows))


def checks_in(store: Store, state: str) -> tuple[HealthCheck, ...]:
    """All checks of a status (`any`: all), by node name, then check id."""
    found = (store.checks[row] for row in sorted(store.checks))
    return tuple(check for check in found if state in (ANY_STATE, check.status))


def nodes_of(store: Store, checks: Iterable[HealthCheck]) -> tuple[Node, ...]:
    """The nodes that `checks` are of, by name."""
    keys = {check.node.lower() for check in checks}
    return tuple(store.nodes[key] for key in sorted(keys) if key in store.nodes)


def at_address(store: Store, address: str) -> tuple[tuple[Node, ...], tuple[ServiceInstance, ...]]:
    """Nodes and instances that have this address of their own."""
    rows = sorted(store.by_address.get(address, ()))
    owners = tuple(store.nodes[key] for key, service_id in rows if not service_id and key in store.nodes)
    return owners, tuple(store.instance(row) for row in rows if row[1])


def entries(store: Store, kind: str, name: str) -> tuple[AnyConfigEntry, ...]:
    """Config entries of a kind ("" any), of a name ("" any), by kind, then name."""
    if kind and name:
        found = store.entries.get((kind, name))
        return (found,) if found is not None else ()
    rows = (row for row in sorted(store.entries) if kind in ("", row[0]) and name in ("", row[1]))
    return tuple(store.entries[row] for row in rows)


def intentions(store: Store) -> tuple[Intention, ...]:
    """All intentions, the highest precedence first."""
    return in_order(each for entry in entries(store, ServiceIntentions.kind, "") for each in _flat(entry))


def intentions_towards(store: Store, destination: str) -> tuple[Intention, ...]:
    """The intentions whose destination is `destination` or any, the highest precedence first."""
    names = dict.fromkeys((destination, ANY))
    return in_order(
        each for name in names for entry in entries(store, ServiceIntentions.kind, name) for each in _flat(entry)
    )


def intentions_from(store: Store, source: str) -> tuple[Intention, ...]:
    """The intentions whose source is `source` or any, the highest precedence first."""
    return tuple(each for each in intentions(store) if each.source_name in (source, ANY))


def _flat(entry: AnyConfigEntry) -> tuple[Intention, ...]:
    return flatten(entry) if isinstance(entry, ServiceIntentions) else ()
