"""Recovery of a cluster that lost its majority: `peers.json`, in Consul's format, says who the members are from now on.

An operator stops what is left, writes the same file to `data_dir/server/raft/peers.json` on every server that is left, and
starts them. Each takes all of its log for committed and makes a snapshot of it with the new members; so the logs stay as
they were, and the longest wins the election. The cluster's nonce becomes another, the same on all who had the same file,
so that a server that comes back from the dead with the old members is refused. Used by `server.consensus`.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
import structlog

from chowk.server.port import StateMachine
from chowk.server.raft.records import Configuration, EntryKind, Member, Restored, SnapshotMeta
from chowk.server.storage.errors import StorageError
from chowk.server.storage.port import Storage

log = structlog.get_logger("chowk.consensus")
PEERS: Final = "peers.json"
MEMBERS_MAX: Final = 64
_ADVICE: Final = (
    'it must be a list like [{"id": "<node-id>", "address": "10.0.0.1:8300", "non_voter": false}, ...] with every server '
    "that is left. Nothing was changed. Mend the file, or remove it to start with the members as they were"
)


PLAN: Final = "recovery"
"""The note of a recovery under way: a crash in the middle of one must not make another nonce."""


class _Plan(msgspec.Struct, frozen=True):
    file: str
    meta: SnapshotMeta


class _Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    address: str
    non_voter: bool = False


def forced_members(data: bytes, me: str) -> tuple[Member, ...]:
    """The members that the file names, sorted. StorageError says what is wrong with it."""
    try:
        peers = msgspec.json.decode(data, type=list[_Peer])
    except ValueError as error:
        raise StorageError(f"{PEERS} cannot be used: {error}; {_ADVICE}") from error
    wrong = _fault(peers, me)
    if wrong:
        raise StorageError(f"{PEERS} cannot be used: {wrong}; {_ADVICE}")
    members = (Member(peer.id, peer.address, "", not peer.non_voter) for peer in peers)
    return tuple(sorted(members, key=lambda member: member.id))


def _fault(peers: list[_Peer], me: str) -> str:
    if len(peers) > MEMBERS_MAX:
        return f"it names {len(peers)} servers; {MEMBERS_MAX} is the most"
    for peer in peers:
        _host, colon, port = peer.address.rpartition(":")
        if not peer.id or not colon or not _host or not port.isdigit() or not 0 < int(port) < 65536:
            return f"the server {peer.id!r} at {peer.address!r} needs an id and an address host:port"
    for what in ("id", "address"):
        values = [getattr(peer, what) for peer in peers]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            return f"two servers have the {what} {twice}"
    if all(peer.non_voter for peer in peers):
        return "it names no voter"
    if all(peer.id != me for peer in peers):
        return f"this server ({me}) is not in it"
    return ""


def forced_meta(old: Configuration, members: tuple[Member, ...], index: int, term: int) -> SnapshotMeta:
    """What the snapshot of everything up to (`index`, `term`) stands for once these are the members. The names of members
    that were known stay; the nonce follows from the old one and the members."""
    named = tuple(
        msgspec.structs.replace(member, node=known.node) if (known := old.member(member.id)) else member
        for member in members
    )
    said = "\n".join([old.cluster, *(f"{member.id} {member.address} {member.voter}" for member in members)])
    cluster = hashlib.sha256(said.encode()).hexdigest()[:32]
    return SnapshotMeta(index, term, Configuration(named, cluster), index)


def recover(
    storage: Storage, restored: Restored, machine: StateMachine, applied: int, me: str, wall_s: float
) -> Restored:
    """Force the members that `peers.json` names, if it is there; `machine` is at `applied`, and at the end of the log after
    it. What the server begins with. StorageError: the file is wrong and nothing changed, or the disk failed.

    Blocks, and applies entries: call it before anything else uses the machine."""
    data = storage.read_note(PEERS)
    if data is None:
        return restored
    members = forced_members(data, me)
    meta = _planned(storage, restored, members, data)
    for entry in restored.entries:
        if entry.index > applied and entry.kind is EntryKind.COMMAND:
            machine.apply(entry.index, entry.data)
    storage.save_snapshot(meta, machine.snapshot()())
    storage.install(meta)
    storage.rename_note(PEERS, f"{PEERS}.applied-{int(wall_s)}")
    log.warning(
        "recovered from the loss of a majority: the members are those of the file now",
        members=[f"{member.id} {member.address}" for member in members],
        index=meta.index,
    )
    return Restored(restored.hard_state, meta, ())


def _planned(storage: Storage, restored: Restored, members: tuple[Member, ...], data: bytes) -> SnapshotMeta:
    """The same after a crash in the middle."""
    snapshot, entries = restored.snapshot, restored.entries
    if entries:
        index, term = entries[-1].index, entries[-1].term
    elif snapshot is not None:
        index, term = snapshot.index, snapshot.term
    else:
        raise StorageError(f"{PEERS} is there, but this server has no data to recover: remove the file")
    digest = hashlib.sha256(data).hexdigest()
    note = storage.read_note(PLAN)
    if note is not None:
        known = msgspec.msgpack.decode(note, type=_Plan)
        if known.file == digest and known.meta.index == index:
            return known.meta
    changes = [Configuration.decode(entry.data) for entry in entries if entry.kind is EntryKind.CONFIGURATION]
    old = changes[-1] if changes else snapshot.configuration if snapshot is not None else Configuration()
    meta = forced_meta(old, members, index, term)
    storage.write_note(PLAN, msgspec.msgpack.encode(_Plan(digest, meta)))
    return meta
