"""The RPCs between agents and servers: names, requests, replies, and the permission each will need.

A `Method` ties them together; `agent.client` calls methods, `server.rpc` serves them, one endpoint module a noun.
Reads carry `QueryOptions` and answer with `QueryMeta`; with `min_index` set they block until the result's index passes it
or `max_wait_s` ends, and then answer whatever is there.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from chowk.core.commands import AnyCommand
from chowk.core.events import ServiceSummary, StreamFrame, Topic
from chowk.core.records.ca import CAConfiguration, CARoots, LeafCertificate
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import AnyConfigEntry
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.intention import Intention
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService

Q = TypeVar("Q")
A = TypeVar("A")


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of requests and replies."""


class Method(Generic[Q, A]):
    """One RPC: `name` on the wire, the types of request and answer, and the permission it needs.

    `permission` is `resource:access`, e.g. `service:read`; "" for what anyone may know.
    """

    def __init__(self, name: str, request: type[Q], reply: type[A], permission: str) -> None:
        self.name = name
        self.request = request
        self.reply = reply
        self.permission = permission

    def __repr__(self) -> str:
        return f"Method({self.name})"


DEFAULT = "default"
STALE = "stale"
CONSISTENT = "consistent"


class QueryOptions(Message, frozen=True, kw_only=True):
    """How a read is done. `datacenter` "" means the server's own. `near` names a node: what is of nodes comes nearest to it
    first, as round-trip times go, where that is known."""

    datacenter: str = ""
    min_index: int = 0
    max_wait_s: float = 300.0
    consistency: str = DEFAULT
    token: str = ""
    near: str = ""


class QueryMeta(Message, frozen=True, kw_only=True):
    """What is known of an answer: never index 0; `last_contact_ms` is the age of what a follower knows."""

    index: int = 1
    known_leader: bool = True
    last_contact_ms: int = 0
    consistency: str = "leader"


class Empty(Message, frozen=True, kw_only=True):
    """Nothing to say."""


class Read(Message, frozen=True, kw_only=True):
    """A read that names nothing but, perhaps, one `name`."""

    name: str = ""
    options: QueryOptions = QueryOptions()


class Write(Message, frozen=True, kw_only=True):
    """A command to replicate. `client` and `sequence` make retries apply once (see core.commands.Envelope)."""

    command: AnyCommand
    client: str
    sequence: int
    datacenter: str = ""
    token: str = ""


class WriteReply(Message, frozen=True, kw_only=True):
    """`ok` False: a compare-and-set lost and nothing changed."""

    index: int
    ok: bool = True


class LeaderReply(Message, frozen=True, kw_only=True):
    """`leader` "" when nobody leads; addresses are `host:port` of the servers' RPC."""

    leader: str = ""
    peers: tuple[str, ...] = ()


class DatacentersReply(Message, frozen=True, kw_only=True):
    datacenters: tuple[str, ...]


class NodesReply(Message, frozen=True, kw_only=True):
    meta: QueryMeta
    nodes: tuple[Node, ...]


class ServicesQuery(Message, frozen=True, kw_only=True):
    """All services; with `node_meta` (pairs) those of the nodes that have all of it."""

    node_meta: tuple[tuple[str, str], ...] = ()
    options: QueryOptions = QueryOptions()


class ServicesReply(Message, frozen=True, kw_only=True):
    meta: QueryMeta
    services: tuple[ServiceSummary, ...]


class InstancesQuery(Message, frozen=True, kw_only=True):
    """Instances of service `name`; of its mesh (sidecars and native ones) when `connect`.

    Who still has an answer says of which index and history it was: when that is still the answer, it is not sent again.
    With `by_order` nearness is answered by `InstancesReply.order`; without, as older agents ask, by the rows themselves.
    """

    name: str
    connect: bool = False
    known_index: int = 0
    known_history: str = ""
    by_order: bool = False
    options: QueryOptions = QueryOptions()


class InstancesReply(Message, frozen=True, kw_only=True):
    """Ordered by node name, then service id. `unchanged`: none are sent, they are those of the `known_index`.

    `history` names the store that the index belongs to, as in `StreamFrame`; "" while that is not known. `order`: places
    in the usual order, nearest first, when `by_order` asked for it; else rows that are nearest first come without history.
    """

    meta: QueryMeta
    instances: tuple[ServiceInstance, ...]
    history: str = ""
    unchanged: bool = False
    order: tuple[int, ...] = ()


class NodeServicesReply(Message, frozen=True, kw_only=True):
    """`node` None when there is no such node. `checks` are all checks of the node and its services."""

    meta: QueryMeta
    node: Node | None
    services: tuple[NodeService, ...] = ()
    checks: tuple[HealthCheck, ...] = ()


class ChecksReply(Message, frozen=True, kw_only=True):
    meta: QueryMeta
    checks: tuple[HealthCheck, ...]
    nodes: tuple[Node, ...] = ()
    """The nodes the checks are of, so that callers can filter by node meta."""


class AddressQuery(Message, frozen=True, kw_only=True):
    """Who has this IP address? For PTR lookups."""

    address: str
    options: QueryOptions = QueryOptions()


class AddressReply(Message, frozen=True, kw_only=True):
    meta: QueryMeta
    nodes: tuple[Node, ...]
    instances: tuple[ServiceInstance, ...]


class IntentionsReply(Message, frozen=True, kw_only=True):
    """Ordered by precedence (highest first), then destination, then source."""

    meta: QueryMeta
    intentions: tuple[Intention, ...]


class IntentionMatchQuery(Message, frozen=True, kw_only=True):
    """Intentions whose `by` (`source` or `destination`) is one of `names`, wildcards included."""

    by: str
    names: tuple[str, ...]
    options: QueryOptions = QueryOptions()


class IntentionMatchReply(Message, frozen=True, kw_only=True):
    """One tuple of intentions for each name asked, in the order asked."""

    meta: QueryMeta
    matches: tuple[tuple[Intention, ...], ...]


class IntentionExactQuery(Message, frozen=True, kw_only=True):
    """The one intention of this pair (or of this `id`, when given)."""

    source: str = ""
    destination: str = ""
    id: str = ""
    options: QueryOptions = QueryOptions()


class IntentionCheckReply(Message, frozen=True, kw_only=True):
    """Whether `source` may connect, the intention that decided (None: the default), and the reason in words."""

    meta: QueryMeta
    allowed: bool
    intention: Intention | None = None
    reason: str = ""


class ConfigEntryQuery(Message, frozen=True, kw_only=True):
    """The entries of a kind, or with `name` the one entry. Kind "" means all kinds."""

    kind: str
    name: str = ""
    options: QueryOptions = QueryOptions()


class ConfigEntriesReply(Message, frozen=True, kw_only=True):
    meta: QueryMeta
    entries: tuple[AnyConfigEntry, ...]


class RootsReply(Message, frozen=True, kw_only=True):
    meta: QueryMeta
    roots: CARoots


class CAConfigurationReply(Message, frozen=True, kw_only=True):
    meta: QueryMeta
    configuration: CAConfiguration


class CAConfigurationWrite(Message, frozen=True, kw_only=True):
    configuration: CAConfiguration
    cas: int | None = None
    token: str = ""


class CARotate(Message, frozen=True, kw_only=True):
    """Rotate the root. In an `emergency` the new one signs at once; `distrust` ends the trust in those before it."""

    emergency: bool = False
    distrust: bool = False
    token: str = ""


class CARotateReply(Message, frozen=True, kw_only=True):
    """The id of the new root."""

    root_id: str


class SignRequest(Message, frozen=True, kw_only=True):
    """Sign a leaf for `service`; only the CSR's public key is taken. `node` is the agent that asks."""

    service: str
    csr_pem: str
    node: str = ""
    token: str = ""


class SignReply(Message, frozen=True, kw_only=True):
    leaf: LeafCertificate


class RaftServer(Message, frozen=True, kw_only=True):
    id: str
    node: str
    address: str
    leader: bool
    voter: bool
    protocol_version: str = "3"


class RaftConfigurationReply(Message, frozen=True, kw_only=True):
    index: int
    servers: tuple[RaftServer, ...]


class ServerStatsReply(Message, frozen=True, kw_only=True):
    """Counters for `chowk info`: section -> name -> value as text."""

    stats: dict[str, dict[str, str]]


class SubscribeRequest(Message, frozen=True, kw_only=True):
    """Follow a topic: a snapshot first, then live, for ever. With `index` set, live only if nothing was missed since.

    `history` is that of the frame `index` came from (see StreamFrame): an index of another history means nothing here.
    `stale`: who asks knows nothing of the catalog yet, so that what any server has is better than no answer.
    """

    topic: Topic
    index: int = 0
    history: str = ""
    token: str = ""
    stale: bool = False


STATUS_LEADER = Method("Status.Leader", Empty, LeaderReply, "")
STATUS_STATS = Method("Status.Stats", Empty, ServerStatsReply, "agent:read")
CATALOG_WRITE = Method("Catalog.Write", Write, WriteReply, "service:write")
CATALOG_DATACENTERS = Method("Catalog.Datacenters", Empty, DatacentersReply, "")
CATALOG_NODES = Method("Catalog.Nodes", Read, NodesReply, "node:read")
CATALOG_SERVICES = Method("Catalog.Services", ServicesQuery, ServicesReply, "service:read")
CATALOG_NODE_SERVICES = Method("Catalog.NodeServices", Read, NodeServicesReply, "node:read")
CATALOG_ADDRESS = Method("Catalog.Address", AddressQuery, AddressReply, "node:read")
HEALTH_INSTANCES = Method("Health.Instances", InstancesQuery, InstancesReply, "service:read")
HEALTH_NODE_CHECKS = Method("Health.NodeChecks", Read, ChecksReply, "node:read")
HEALTH_SERVICE_CHECKS = Method("Health.ServiceChecks", Read, ChecksReply, "service:read")
HEALTH_STATE_CHECKS = Method("Health.StateChecks", Read, ChecksReply, "node:read")
INTENTION_WRITE = Method("Intention.Write", Write, WriteReply, "intention:write")
INTENTION_LIST = Method("Intention.List", Read, IntentionsReply, "intention:read")
INTENTION_MATCH = Method("Intention.Match", IntentionMatchQuery, IntentionMatchReply, "intention:read")
INTENTION_EXACT = Method("Intention.Exact", IntentionExactQuery, IntentionsReply, "intention:read")
INTENTION_CHECK = Method("Intention.Check", IntentionExactQuery, IntentionCheckReply, "intention:read")
CONFIG_WRITE = Method("ConfigEntry.Write", Write, WriteReply, "config:write")
CONFIG_READ = Method("ConfigEntry.Read", ConfigEntryQuery, ConfigEntriesReply, "config:read")
CA_ROOTS = Method("ConnectCA.Roots", Read, RootsReply, "")
CA_CONFIGURATION = Method("ConnectCA.Configuration", Read, CAConfigurationReply, "operator:read")
CA_CONFIGURE = Method("ConnectCA.Configure", CAConfigurationWrite, WriteReply, "operator:write")
CA_ROTATE = Method("ConnectCA.Rotate", CARotate, CARotateReply, "operator:write")
CA_SIGN = Method("ConnectCA.Sign", SignRequest, SignReply, "service:write")
RAFT_CONFIGURATION = Method("Operator.RaftConfiguration", Empty, RaftConfigurationReply, "operator:read")
SUBSCRIBE = Method("Stream.Subscribe", SubscribeRequest, StreamFrame, "service:read")
"""The one streaming method: its reply type is that of each item."""
