"""The RPCs for those who run the servers: membership of the Raft cluster, autopilot, snapshots."""

from __future__ import annotations

from chowk.core.records.autopilot import AutopilotConfiguration
from chowk.core.requests import Empty, Message, Method, QueryMeta, QueryOptions, RaftServer, Read, Write, WriteReply


class RaftRemove(Message, frozen=True, kw_only=True):
    """Remove the server of this `id`, or of this `address` (`host:port`): one of the two."""

    id: str = ""
    address: str = ""
    token: str = ""


class RaftTransfer(Message, frozen=True, kw_only=True):
    """Let the server of this `id` lead, "" for the one that is furthest."""

    id: str = ""
    token: str = ""


class AutopilotConfigurationReply(Message, frozen=True, kw_only=True):
    meta: QueryMeta
    configuration: AutopilotConfiguration


class ServerHealth(Message, frozen=True, kw_only=True):
    """A server as the leader sees it. `status` is gossip's, "none" when gossip does not know it; `last_contact_ms` -1: it
    was never heard in this term; `stable_since` (Unix seconds) is when `healthy` became what it is."""

    id: str
    node: str
    address: str
    status: str
    version: str
    leader: bool
    voter: bool
    healthy: bool
    last_contact_ms: int
    last_term: int
    last_index: int
    stable_since: float


class AutopilotState(Message, frozen=True, kw_only=True):
    """All servers. `failure_tolerance` is how many voters may fail now without an outage."""

    healthy: bool
    failure_tolerance: int
    servers: tuple[ServerHealth, ...]


class SnapshotQuery(Message, frozen=True, kw_only=True):
    """Asks for the whole state at one index."""

    options: QueryOptions = QueryOptions()


class SnapshotPart(Message, frozen=True, kw_only=True):
    """The first part of a snapshot says what it is: `size` and `sha256` are those of all `data` that the others bring."""

    index: int = 0
    term: int = 0
    configuration_index: int = 0
    servers: tuple[RaftServer, ...] = ()
    size: int = 0
    sha256: str = ""
    data: bytes = b""


class RestoreChunk(Message, frozen=True, kw_only=True):
    """One piece of the state that is to take the present one's place: pieces of one `id` come in order, from `number` 0.
    Nothing changes but that the servers keep them."""

    id: str
    number: int
    data: bytes
    token: str = ""


class RestoreFinish(Message, frozen=True, kw_only=True):
    """All `chunks` pieces were sent, `sha256` is that of all their bytes: replace the state by them; or `abandon` them."""

    id: str
    chunks: int = 0
    sha256: str = ""
    abandon: bool = False
    token: str = ""


RAFT_REMOVE = Method("Operator.RaftRemovePeer", RaftRemove, Empty, "operator:write")
RAFT_TRANSFER = Method("Operator.RaftTransferLeader", RaftTransfer, Empty, "operator:write")
AUTOPILOT_CONFIGURATION = Method("Operator.AutopilotConfiguration", Read, AutopilotConfigurationReply, "operator:read")
AUTOPILOT_CONFIGURE = Method("Operator.AutopilotConfigure", Write, WriteReply, "operator:write")
AUTOPILOT_STATE = Method("Operator.AutopilotState", Empty, AutopilotState, "operator:read")
SNAPSHOT_SAVE = Method("Snapshot.Save", SnapshotQuery, SnapshotPart, "snapshot:read")
"""A stream."""
SNAPSHOT_CHUNK = Method("Snapshot.RestoreChunk", RestoreChunk, Empty, "snapshot:write")
SNAPSHOT_FINISH = Method("Snapshot.RestoreFinish", RestoreFinish, WriteReply, "snapshot:write")
