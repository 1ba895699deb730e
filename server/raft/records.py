"""What Raft keeps: entries, hard state, configurations, and what a snapshot stands for. Used by the core and by storage."""

from __future__ import annotations

import enum
from functools import cached_property
from typing import Final

import msgspec

ENTRY_OVERHEAD_BYTES: Final = 32
"""What an entry costs besides its data, for limits on bytes."""


class EntryKind(enum.IntEnum):
    """What an entry's data is: a command for the state machine, nothing (a leader's first entry), or a Configuration."""

    COMMAND = 0
    NOOP = 1
    CONFIGURATION = 2


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One place of the log. `data` is opaque but for CONFIGURATION."""

    index: int
    term: int
    kind: EntryKind = EntryKind.COMMAND
    data: bytes = b""

    @property
    def size(self) -> int:
        """Bytes, for limits."""
        return len(self.data) + ENTRY_OVERHEAD_BYTES


class HardState(msgspec.Struct, frozen=True):
    """What must be durable before a server says anything in a term: the term, and for whom it voted in it ("" for none)."""

    term: int = 0
    vote: str = ""


class Member(msgspec.Struct, frozen=True):
    """A server of the cluster. One that is no `voter` (a learner) gets the log but counts in no quorum."""

    id: str
    address: str
    node: str = ""
    voter: bool = True


class Configuration(msgspec.Struct, frozen=True, dict=True):
    """The members, sorted by id, and the cluster's nonce: made at its bootstrap, never changed, and compared on every
    connection between servers, so that two clusters joined by mistake do not mix. What is asked of it at every message is
    worked out once."""

    members: tuple[Member, ...] = ()
    cluster: str = ""

    @cached_property
    def voters(self) -> tuple[str, ...]:
        """The ids that count."""
        return tuple(member.id for member in self.members if member.voter)

    @cached_property
    def _by_id(self) -> dict[str, Member]:
        return {member.id: member for member in reversed(self.members)}

    def member(self, server: str) -> Member | None:
        """The member with this id."""
        return self._by_id.get(server)

    def joined_by(self, member: Member) -> Configuration:
        """This configuration with a member added, or changed."""
        others = [known for known in self.members if known.id != member.id]
        return Configuration(tuple(sorted([*others, member], key=lambda known: known.id)), self.cluster)

    def left_by(self, server: str) -> Configuration:
        """This configuration without a member."""
        return Configuration(tuple(member for member in self.members if member.id != server), self.cluster)

    def encode(self) -> bytes:
        """The data of a CONFIGURATION entry."""
        return msgspec.msgpack.encode(self)

    @staticmethod
    def decode(data: bytes) -> Configuration:
        """From the data of a CONFIGURATION entry. ValueError when it is none."""
        return msgspec.msgpack.decode(data, type=Configuration)


class SnapshotMeta(msgspec.Struct, frozen=True):
    """What a snapshot replaces: the log up to `index`, and the configuration in force there."""

    index: int
    term: int
    configuration: Configuration
    configuration_index: int


class Restored(msgspec.Struct, frozen=True):
    """What a server remembers when it starts. `entries` are gapless and reach back to `snapshot.index + 1` or further."""

    hard_state: HardState = HardState()
    snapshot: SnapshotMeta | None = None
    entries: tuple[Entry, ...] = ()

    @property
    def is_blank(self) -> bool:
        """Whether nothing was ever kept here, so that it may be bootstrapped."""
        return self.snapshot is None and not self.entries


def bootstrap_entry(configuration: Configuration) -> Entry:
    """The first entry of a new cluster's log: every server that bootstraps it writes the same one, before it starts."""
    return Entry(1, 1, EntryKind.CONFIGURATION, configuration.encode())
