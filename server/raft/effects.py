"""What the core wants done, as values. Taken by the one shell that drives it, and by simulations."""

from __future__ import annotations

import msgspec

from chowk.server.raft.messages import Message
from chowk.server.raft.records import Entry, HardState, SnapshotMeta


class Persist(msgspec.Struct, frozen=True):
    """Make durable, in the order of the fields and of `sequence`, then call `Raft.persisted(sequence)`.

    Entries replace what the log holds at and after the first one's index. `install` replaces log and state machine.
    """

    sequence: int
    hard_state: HardState | None = None
    install: SnapshotMeta | None = None
    entries: tuple[Entry, ...] = ()


class ReadState(msgspec.Struct, frozen=True):
    """A read asked for with `context` may be served once `index` is applied; None: it cannot be (no leader), ask again."""

    context: int
    index: int | None


class Effects(msgspec.Struct, frozen=True):
    """What to do now. `messages` may go out at once: the core holds back what depends on something not yet durable.

    `snapshots` go out with the bytes of a snapshot that is at least their `meta`; tell `snapshot_failed` when they cannot.
    `committed` is durable here and to be applied in order; every index comes once.
    """

    persists: tuple[Persist, ...] = ()
    messages: tuple[Message, ...] = ()
    committed: tuple[Entry, ...] = ()
    reads: tuple[ReadState, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.persists or self.messages or self.committed or self.reads)
