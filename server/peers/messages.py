"""What servers say to one another, and the RPCs they say it by: only a server may call them (`raft:peer`)."""

from __future__ import annotations

from typing import Final

import msgspec

from chowk.core.peer_requests import PEER
from chowk.core.requests import Empty, Method
from chowk.server.raft.messages import InstallSnapshot
from chowk.server.raft.records import Configuration

CHUNK_BYTES_MAX: Final = 1024 * 1024
MESSAGES_MAX: Final = 4096
"""Raft messages in one envelope."""


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """The base: fields that a newer release adds are passed over."""


class Origin(Wire, frozen=True, kw_only=True):
    """Who speaks. `cluster` is the nonce of its cluster, "" while it is part of none; `address` is where others reach it."""

    id: str
    node: str
    address: str
    cluster: str


class Envelope(Wire, frozen=True, kw_only=True):
    """Raft messages to one server, each as msgpack of `raft.messages.Message`: one that a newer release sends and this one
    does not know is passed over alone. `voter`: the receiver is a voter in the sender's configuration."""

    origin: Origin
    voter: bool
    messages: tuple[msgspec.Raw, ...]


class Chunk(Wire, frozen=True, kw_only=True):
    """A piece of a snapshot file. `message` is what the core is given when all of its `size` bytes are there. Empty `data`
    asks from where to go on. `transfer` is the same for as long as the bytes are."""

    origin: Origin
    voter: bool
    message: InstallSnapshot
    transfer: str
    size: int
    offset: int
    checksum: int
    data: bytes


class ChunkReply(Wire, frozen=True, kw_only=True):
    """`offset` is wanted next; `done`: the snapshot is this server's state now."""

    offset: int
    done: bool = False


class Ballot(Wire, frozen=True, kw_only=True, order=True):
    """A round of the founding: rounds of one number are told apart by their proposer."""

    number: int = 0
    proposer: str = ""


class Runs(Wire, frozen=True, kw_only=True):
    """What a server runs: its release, and the newest COMMANDS_VERSION it can apply. One that does not say knows 1."""

    release: str = ""
    commands: int = 1


class StatusRequest(Wire, frozen=True, kw_only=True):
    """Who are you? `target` is whom the caller takes the other for, "" when it does not know."""

    origin: Origin
    target: str = ""
    runs: Runs = Runs()


class StatusReply(Wire, frozen=True, kw_only=True):
    """What a server is. `blank`: part of no cluster yet, having agreed to `founding` at most. `refusal` says why it will not
    listen to the caller, "" when it will."""

    origin: Origin
    blank: bool
    expect: int
    term: int
    last_index: int
    promised: Ballot = Ballot()
    founding: Configuration = Configuration()
    refusal: str = ""
    runs: Runs = Runs()


class FoundRequest(Wire, frozen=True, kw_only=True):
    """Found a cluster together (see `founding`): `prepare` a ballot, `accept` a configuration in it, `commit` to it."""

    origin: Origin
    step: str
    ballot: Ballot
    expect: int
    configuration: Configuration = Configuration()


class FoundReply(Wire, frozen=True, kw_only=True):
    """Whether the step was taken; if not, why. `accepted` and `configuration`: what was accepted before, if anything."""

    ok: bool
    refusal: str = ""
    promised: Ballot = Ballot()
    accepted: Ballot = Ballot()
    configuration: Configuration = Configuration()


RAFT_MESSAGES: Final = Method("Raft.Messages", Envelope, Empty, PEER)
RAFT_SNAPSHOT: Final = Method("Raft.Snapshot", Chunk, ChunkReply, PEER)
RAFT_STATUS: Final = Method("Raft.Status", StatusRequest, StatusReply, PEER)
RAFT_FOUND: Final = Method("Raft.Bootstrap", FoundRequest, FoundReply, PEER)
