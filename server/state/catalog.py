"""Applies what changes nodes, services and checks. Total: what cannot be is left out. Called by `machine`."""

from __future__ import annotations

import msgspec

from chowk.core.commands import Deregister, Register
from chowk.core.events import Topic
from chowk.core.records.check import CRITICAL, HealthCheck
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.server.state import coordinates, session
from chowk.server.state.changed import ANY_CHECK, NODE
from chowk.server.state.changes import Changes
from chowk.server.state.store import Key, Store, stamped


def register(store: Store, changes: Changes, command: Register) -> None:
    """Write the node, then its service, then its checks; what is there already without a difference stays untouched."""
    key = command.node.node.lower()
    if key not in store.nodes or not command.skip_node_update:
        _write_node(store, changes, key, command.node)
    if command.service is not None:
        _write_service(store, changes, key, command.service)
    for check in command.checks:
        _write_check(store, changes, key, check)


def deregister(store: Store, changes: Changes, command: Deregister) -> None:
    """Remove one check, else one service with its checks, else the node with everything of it."""
    key = command.node.lower()
    if command.check_id:
        _remove_check(store, changes, (key, command.check_id))
    elif command.service_id:
        _remove_service(store, changes, (key, command.service_id))
    else:
        _remove_node(store, changes, key)


def _write_node(store: Store, changes: Changes, key: str, node: Node) -> None:
    """A node that comes back with its id under another name was renamed: the old name goes with all it had, as in Consul."""
    other = store.node_ids.get(node.id) if node.id else None
    if other is not None and other != key:
        _remove_node(store, changes, other)
    old = store.nodes.get(key)
    if old is not None:
        node = msgspec.structs.replace(node, node=old.node, id=node.id or old.id)
    written = stamped(node, old, changes.index)
    if written is not None:
        changes.touch_node(key)
        store.put_node(written)


def _write_service(store: Store, changes: Changes, node_key: str, service: NodeService) -> None:
    key = (node_key, service.id)
    written = stamped(service, store.services.get(key), changes.index)
    if written is None:
        return
    changes.touch_instance(key, written)
    store.put_service(node_key, written)
    if written.mesh_name:
        store.virtual_ips.assign(written.mesh_name.lower(), store.by_mesh.__contains__)
    for row in list(store.checks_of_service.get(key, ())):
        _write_check(store, changes, node_key, store.checks[row])


def _write_check(store: Store, changes: Changes, node_key: str, check: HealthCheck) -> None:
    """A service's check carries that service's name and tags; one of an unknown service is left out."""
    service = store.services.get((node_key, check.service_id))
    if check.service_id and service is None:
        return
    old = store.checks.get((node_key, check.check_id))
    check = msgspec.structs.replace(
        check,
        node=store.nodes[node_key].node,
        service_name=service.service if service is not None else "",
        service_tags=service.tags if service is not None else (),
    )
    written = stamped(check, old, changes.index)
    if written is None:
        return
    if old is not None:
        changes.touch_check(node_key, old.service_id)
    changes.touch_check(node_key, check.service_id)
    store.put_check(node_key, written)
    if written.status == CRITICAL:
        session.end_of_check(store, changes, (node_key, check.check_id))


def _remove_check(store: Store, changes: Changes, key: Key) -> None:
    old = store.checks.get(key)
    if old is not None:
        changes.touch_check(key[0], old.service_id)
        store.drop_check(key)
        session.end_of_check(store, changes, key)


def _remove_service(store: Store, changes: Changes, key: Key) -> None:
    if key not in store.services:
        return
    for row in list(store.checks_of_service.get(key, ())):
        _remove_check(store, changes, row)
    changes.touch_instance(key, None)
    store.drop_service(key)


def _remove_node(store: Store, changes: Changes, key: str) -> None:
    if key not in store.nodes:
        return
    changes.touch_node(key)
    session.end_of_node(store, changes, key)
    coordinates.drop(store, changes, key)
    for row in list(store.services_of_node.get(key, ())):
        _remove_service(store, changes, row)
    for row in list(store.checks_of_node.get(key, ())):
        changes.touch_topic(ANY_CHECK)
        store.drop_check(row)
    changes.touch_topic(Topic(kind=NODE, key=key))
    store.drop_node(key)
