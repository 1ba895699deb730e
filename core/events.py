"""Events: what changed, by topic. The state store emits them, the stream carries them, the agents' views fold them.

| topic kind      | key          | item key          | payload                                    |
|-----------------|--------------|-------------------|--------------------------------------------|
| `health`        | service name | `node/service-id` | ServiceInstance                            |
| `connect`       | service name | `node/service-id` | ServiceInstance of a sidecar or a native one |
| `services`      | ""           | service name      | ServiceSummary                             |
| `nodes`         | ""           | node name         | Node                                       |
| `node-services` | node name    | `service-id`      | NodeService                                |
| `intentions`    | destination  | `source/destination` | Intention (of that destination and of `*`) |
| `config`        | kind         | entry name        | a config entry                             |
| `roots`         | ""           | ""                | CARoots                                    |
| `prepared-queries` | ""        | query id          | PreparedQuery, without its token           |
"""

from __future__ import annotations

import msgspec

from chowk.core.records.base import Record
from chowk.core.records.ca import CARoots
from chowk.core.records.config_entry import AnyConfigEntry
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.intention import Intention
from chowk.core.records.node import Node
from chowk.core.records.prepared_query import PreparedQuery
from chowk.core.records.service import NodeService

HEALTH = "health"
CONNECT = "connect"
SERVICES = "services"
NODES = "nodes"
NODE_SERVICES = "node-services"
INTENTIONS = "intentions"
CONFIG = "config"
ROOTS = "roots"
QUERIES = "prepared-queries"

KEY = "key"
"""Of KV, and only asked for: one key, its bytes as Latin-1 (which every byte string has, and no two share)."""
KEY_PREFIX = "key-prefix"
"""All keys that begin so. Whoever tells of a change of a key tells of its prefixes by that."""
KEY_TREE = "key-tree"
"""Never asked for: many keys that begin so changed at once, and are not told of one by one."""


class Topic(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """What a subscriber follows; see the module's table."""

    kind: str
    key: str = ""


class ServiceSummary(Record, frozen=True, kw_only=True):
    """One name of the catalog: all tags of its instances, sorted; its virtual address ("" when it is not in the mesh)."""

    service: str
    tags: tuple[str, ...] = ()
    kind: str = ""
    instances: int = 0
    virtual_ip: str = ""


class InstanceItem(msgspec.Struct, frozen=True, kw_only=True, tag="instance"):
    """Payload of `health` and `connect`."""

    instance: ServiceInstance


class SummaryItem(msgspec.Struct, frozen=True, kw_only=True, tag="summary"):
    """Payload of `services`."""

    summary: ServiceSummary


class NodeItem(msgspec.Struct, frozen=True, kw_only=True, tag="node"):
    """Payload of `nodes`."""

    node: Node


class NodeServiceItem(msgspec.Struct, frozen=True, kw_only=True, tag="node-service"):
    """Payload of `node-services`."""

    service: NodeService


class IntentionItem(msgspec.Struct, frozen=True, kw_only=True, tag="intention"):
    """Payload of `intentions`."""

    intention: Intention


class ConfigItem(msgspec.Struct, frozen=True, kw_only=True, tag="config"):
    """Payload of `config`."""

    entry: AnyConfigEntry


class RootsItem(msgspec.Struct, frozen=True, kw_only=True, tag="roots"):
    """Payload of `roots`."""

    roots: CARoots


class QueryItem(msgspec.Struct, frozen=True, kw_only=True, tag="prepared-query"):
    """Payload of `prepared-queries`. The token stays with the servers: whoever follows the topic need not hold it."""

    query: PreparedQuery


Payload = InstanceItem | SummaryItem | NodeItem | NodeServiceItem | IntentionItem | ConfigItem | RootsItem | QueryItem


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a topic is now `payload`, or gone when that is None."""

    topic: Topic
    key: str
    index: int
    payload: Payload | None


class StreamFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a subscription.

    `reset` True starts a snapshot: the subscriber keeps showing what it has and collects anew; the frame with
    `snapshot_done` True ends it. Frames after that are live. `index` is the store's index as of this frame, also where
    `events` is empty: a heartbeat that moves the index on. `history` names the store the index belongs to: a server that
    lost everything (it kept it in memory, say) counts from 1 again under another name.
    """

    index: int
    events: tuple[Event, ...] = ()
    reset: bool = False
    snapshot_done: bool = False
    history: str = ""
