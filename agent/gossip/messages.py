"""What gossip says on the wire, as values. Encoded and decoded by `codec`; bounds are checked while decoding.

Each is a msgpack array that begins with its number; a later release may add fields at the end, and numbers: both are passed
over by an older one.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from chowk.agent.gossip.settings import (
    MAX_COORDINATE_BYTES,
    MAX_MEMBERS,
    MAX_NAME_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_REASON_BYTES,
)

PROTOCOL: Final = 1
"""The version of gossip spoken here."""

OLDEST_PROTOCOL: Final = 1
"""The oldest version that may join."""

MAX_COUNTER: Final = 2**53
"""Incarnations, Lamport times and sequence numbers stay below it; nothing honest comes near."""

FAILED_CODE: Final = 0
LEFT_CODE: Final = 1
PRUNED_CODE: Final = 2

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_BYTES)]
Word = Annotated[str, msgspec.Meta(max_length=MAX_NAME_BYTES)]
Host = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Counter = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNTER)]
Payload = Annotated[bytes, msgspec.Meta(max_length=MAX_PAYLOAD_BYTES)]
Tags = Annotated[dict[Word, Annotated[str, msgspec.Meta(max_length=256)]], msgspec.Meta(max_length=64)]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Are you `target`? `source` asks; it is acked with `sequence` at the address it came from."""

    sequence: Counter
    target: Name
    source: Word


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """I am, and this is where (`coordinates.to_wire`; b"" says nothing); or he whom you asked me to ping is."""

    sequence: Counter
    coordinate: Annotated[bytes, msgspec.Meta(max_length=MAX_COORDINATE_BYTES)] = b""


class Nack(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """I hear you, but not him whom you asked me to ping (Lifeguard, section IV-A)."""

    sequence: Counter


class IndirectPing(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Ping `target` for me, and ack or nack `sequence`."""

    sequence: Counter
    target: Name
    host: Host
    port: Port


class Suspect(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """`by` could not reach `name`."""

    incarnation: Counter
    name: Name
    by: Name


class Alive(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Said by a member of itself, and passed on. `leaving`: it is about to go, on purpose."""

    incarnation: Counter
    name: Name
    host: Host
    port: Port
    protocol: Counter
    leaving: bool
    tags: Tags


class Gone(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """`name` failed, left or is to be forgotten (`how`), says `by`; of itself where it left."""

    incarnation: Counter
    name: Name
    by: Name
    how: Annotated[int, msgspec.Meta(ge=0, le=2)]


class Broadcast(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """A user event, at the Lamport time `time` of `origin`. `channel` is kept for other kinds; one that is none of ours is
    passed over."""

    time: Counter
    origin: Name
    channel: Annotated[int, msgspec.Meta(ge=0, le=0)]
    name: Name
    payload: Payload
    coalesce: bool


Message = Ping | Ack | Nack | IndirectPing | Suspect | Alive | Gone | Broadcast


class MemberState(msgspec.Struct, frozen=True, array_like=True):
    """What one knows of a member: its last Alive, its `state` (see `members`) and since when, in seconds."""

    alive: Alive
    state: Annotated[int, msgspec.Meta(ge=0, le=3)]
    age_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Sync(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """All one knows, to be merged; answered by the same of the other. `members[0]` is the one that sends it."""

    join: bool
    datacenter: Word
    protocol: Counter
    members: Annotated[tuple[MemberState, ...], msgspec.Meta(min_length=1, max_length=MAX_MEMBERS)]
    time: Counter
    events: Annotated[tuple[Broadcast, ...], msgspec.Meta(max_length=1024)]


class StreamPing(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Are you `target`? Asked by TCP, where UDP had no answer."""

    target: Name


class StreamAck(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """I am."""

    name: Name


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Your Sync was not merged, and why."""

    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_BYTES)]


ExchangeMessage = Sync | StreamPing | StreamAck | Refusal
