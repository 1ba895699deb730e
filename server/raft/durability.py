"""What is durable, what is on its way to the disk, and the messages that wait for it. Called by the core.

Every change of hard state or log belongs to the next Persist. A message that tells of a change carries that Persist's
sequence and is held until the shell said it is durable: so nobody is told of what a crash could still undo.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from chowk.server.raft.effects import Persist
from chowk.server.raft.errors import BrokenInvariant
from chowk.server.raft.log import RaftLog
from chowk.server.raft.messages import Message
from chowk.server.raft.records import HardState, SnapshotMeta

HELD_MESSAGES_MAX: Final = 4096


class Write:
    """A Persist under way: when it ends, this server's log is durable up to `proves`."""

    def __init__(self, sequence: int, proves: int, begun_s: float) -> None:
        self.sequence = sequence
        self.proves = proves
        self.begun_s = begun_s


class Durability:
    """`durable_index`: up to where this server's own log survives a crash as it is now."""

    def __init__(self, durable_index: int) -> None:
        self.durable_index = durable_index
        self._taken = 0
        self._durable = 0
        self._hard_sequence = 0
        self._hard_changed = False
        self._unsaved_from: int | None = None
        self._install: SnapshotMeta | None = None
        self._writes: deque[Write] = deque()
        self._held: deque[tuple[int, Message]] = deque()
        self._ready: list[Message] = []

    @property
    def _is_dirty(self) -> bool:
        return self._hard_changed or self._unsaved_from is not None or self._install is not None

    @property
    def everything(self) -> int:
        """The sequence with which all that has happened so far is durable."""
        return self._taken + 1 if self._is_dirty else self._taken

    @property
    def hard_state(self) -> int:
        """The sequence with which the term and the vote are durable."""
        return self._hard_sequence

    def hard_state_changed(self) -> None:
        """The term or the vote is new."""
        self._hard_changed = True
        self._hard_sequence = self._taken + 1

    def appended(self, first: int) -> None:
        """Entries from `first` on are new."""
        self._unsaved_from = first if self._unsaved_from is None else min(first, self._unsaved_from)

    def truncated(self, first: int) -> None:
        """Entries from `first` on are gone. Writes under way prove no more than what is before them: the same index
        may be written again, and an old write's end must not be taken for the new one's."""
        self._cap(first - 1, first - 1)
        if self._unsaved_from is not None and self._unsaved_from >= first:
            self._unsaved_from = None

    def installed(self, snapshot: SnapshotMeta) -> None:
        """A snapshot replaces the log. Writes under way prove nothing any more."""
        self._cap(snapshot.index, 0)
        self._unsaved_from = None
        self._install = snapshot

    def _cap(self, durable: int, proved: int) -> None:
        self.durable_index = min(self.durable_index, durable)
        for write in self._writes:
            write.proves = min(write.proves, proved)

    def writing_since(self, now: float) -> float:
        """When the oldest write that has not ended was begun; `now` when none is under way."""
        return self._writes[0].begun_s if self._writes else now

    def hold(self, message: Message, after: int) -> None:
        """Keep a message until `after` is durable. With too many kept (a disk that hangs) it is lost, as on any network."""
        if after <= self._durable:
            self._ready.append(message)
        elif len(self._held) < HELD_MESSAGES_MAX:
            self._held.append((after, message))

    def released(self) -> list[Message]:
        """The messages that may go out now."""
        ready, self._ready = self._ready, []
        return ready

    def take(self, hard_state: HardState, log: RaftLog, now: float) -> Persist | None:
        """The next thing to write, if there is any."""
        if not self._is_dirty:
            return None
        self._taken += 1
        entries = log.between(self._unsaved_from, log.last_index) if self._unsaved_from is not None else []
        persist = Persist(self._taken, hard_state if self._hard_changed else None, self._install, tuple(entries))
        self._writes.append(Write(self._taken, log.last_index, now))
        self._hard_changed, self._unsaved_from, self._install = False, None, None
        return persist

    def persisted(self, sequence: int) -> None:
        """Everything up to `sequence` is durable."""
        if not self._durable < sequence <= self._taken:
            raise BrokenInvariant(f"write {sequence} cannot have ended: {self._durable} to {self._taken} are under way")
        self._durable = sequence
        while self._writes and self._writes[0].sequence <= sequence:
            self.durable_index = max(self.durable_index, self._writes.popleft().proves)
        held, self._held = self._held, deque()
        for after, message in held:
            self.hold(message, after)
