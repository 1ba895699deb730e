"""Where the nodes of the catalog are in the network: the table's writes, and sorting by it. Total.

`update` is called by `machine`, `drop` by `catalog` in the very commit that removes a node, the rest by `server.rpc`. The
table is `Store.coordinates`, by node key; it holds valid coordinates of nodes that are there, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from chowk.core.commands import UpdateCoordinates
from chowk.core.events import Topic
from chowk.core.records.coordinate import NodeCoordinate
from chowk.server.state.changes import Changes
from chowk.server.state.store import Store

R = TypeVar("R")
ANY_COORDINATE: Final = Topic(kind="coordinates")
NODE_COORDINATE: Final = "node-coordinate"


def coordinate_topic(node: str) -> Topic:
    """The topic of one node's coordinate."""
    return Topic(kind=NODE_COORDINATE, key=node.lower())


def update(store: Store, changes: Changes, command: UpdateCoordinates) -> None:
    """Note each coordinate; that of a node which is not there any more is passed over."""
    for said in command.coordinates:
        key = said.node.lower()
        node = store.nodes.get(key)
        if node is None or said.coord.problem:
            continue
        written = msgspec.structs.replace(said, node=node.node)
        if store.coordinates.get(key) != written:
            store.coordinates[key] = written
            changes.touch_topic(ANY_COORDINATE)
            changes.touch_topic(coordinate_topic(key))


def drop(store: Store, changes: Changes, node_key: str) -> None:
    """The node is gone now."""
    if store.coordinates.pop(node_key, None) is not None:
        changes.touch_topic(ANY_COORDINATE)
        changes.touch_topic(coordinate_topic(node_key))
        changes.touch_gone(coordinate_topic(node_key))


def coordinates(store: Store, node: str = "") -> tuple[NodeCoordinate, ...]:
    """All, by node name; or that of one node, if it has one."""
    if node:
        found = store.coordinates.get(node.lower())
        return (found,) if found is not None else ()
    return tuple(store.coordinates[key] for key in sorted(store.coordinates))


def of_service(store: Store, service: str) -> tuple[NodeCoordinate, ...]:
    """Those of the nodes that offer a service, by node name."""
    keys = sorted({key for key, _id in store.by_service.get(service.lower(), ())})
    return tuple(store.coordinates[key] for key in keys if key in store.coordinates)


def nearest_first(store: Store, near: str, rows: tuple[R, ...], node_of: Callable[[R], str]) -> tuple[R, ...]:
    """`rows` by the estimated round-trip time from the node `near` to that of each; those of nodes without a coordinate
    last, equals as they were. As they were altogether where `near` is "" or has no coordinate."""
    origin = store.coordinates.get(near.lower()) if near else None
    if origin is None:
        return rows

    def rtt_s(row: R) -> float:
        known = store.coordinates.get(node_of(row).lower())
        return origin.coord.rtt_s(known.coord) if known is not None else math.inf

    return tuple(sorted(rows, key=rtt_s))
