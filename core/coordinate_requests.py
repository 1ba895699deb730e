"""The RPCs of network coordinates: names, requests, replies, permissions. See `core.requests`."""

from __future__ import annotations

from chowk.core.records.base import Record
from chowk.core.records.coordinate import NodeCoordinate
from chowk.core.requests import Empty, Message, Method, QueryMeta, Read


class CoordinateUpdate(Message, frozen=True, kw_only=True):
    """Where a node is now. The leader writes such news together, a few seconds later; a lost one is mended by the next."""

    coordinate: NodeCoordinate
    datacenter: str = ""
    token: str = ""


class CoordinatesReply(Message, frozen=True, kw_only=True):
    """By node name."""

    meta: QueryMeta
    coordinates: tuple[NodeCoordinate, ...]


class DatacenterMap(Record, frozen=True, kw_only=True):
    """The servers of a datacenter. Coordinates may be compared within one `area_id`."""

    datacenter: str
    area_id: str
    coordinates: tuple[NodeCoordinate, ...]


class DatacenterMapsReply(Message, frozen=True, kw_only=True):
    maps: tuple[DatacenterMap, ...]


COORDINATE_UPDATE = Method("Coordinate.Update", CoordinateUpdate, Empty, "node:write")
COORDINATE_NODES = Method("Coordinate.Nodes", Read, CoordinatesReply, "node:read")
"""That of the node `name`, else all."""
COORDINATE_DATACENTERS = Method("Coordinate.Datacenters", Empty, DatacenterMapsReply, "")
