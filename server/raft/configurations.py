"""Which configuration is in force at each index: the latest in the log, committed or not (dissertation 4.1)."""

from __future__ import annotations

from chowk.server.raft.errors import BrokenInvariant, ChangeRefused
from chowk.server.raft.log import RaftLog
from chowk.server.raft.records import Configuration, Entry, EntryKind, SnapshotMeta


class Configurations:
    """The history that is still needed: what compaction kept, and every change after it."""

    def __init__(self, snapshot: SnapshotMeta | None, log: RaftLog) -> None:
        self._history: list[tuple[int, Configuration]] = [(0, Configuration())]
        if snapshot is not None:
            self._history = [(snapshot.configuration_index, snapshot.configuration)]
        for entry in log.between(log.anchor_index + 1, log.last_index):
            if entry.index > self.latest_index:
                self.note(entry)

    @property
    def latest(self) -> Configuration:
        """The one in force."""
        return self._history[-1][1]

    @property
    def latest_index(self) -> int:
        """The index of its entry."""
        return self._history[-1][0]

    def at(self, index: int) -> tuple[int, Configuration]:
        """The one in force at `index`, and the index of its entry."""
        return next(known for known in reversed(self._history) if known[0] <= index or known is self._history[0])

    def voters_since(self, index: int) -> set[str]:
        """Who counts in the configuration in force at `index`, or in any after it."""
        first, _configuration = self.at(index)
        return {voter for known, configuration in self._history if known >= first for voter in configuration.voters}

    def note(self, entry: Entry) -> None:
        """An entry was appended."""
        if entry.kind is EntryKind.CONFIGURATION:
            try:
                configuration = Configuration.decode(entry.data)
            except ValueError as error:
                raise BrokenInvariant(f"entry {entry.index} is no configuration: {error}") from error
            self._history.append((entry.index, configuration))

    def truncate_from(self, index: int) -> None:
        """The entries at and after `index` were truncated: what was in force before them is again."""
        while len(self._history) > 1 and self._history[-1][0] >= index:
            self._history.pop()

    def compact(self, index: int) -> None:
        """What was in force only before `index` is no longer asked for."""
        while len(self._history) > 1 and self._history[1][0] <= index:
            del self._history[0]

    def reset(self, snapshot: SnapshotMeta) -> None:
        """A snapshot replaced the log, and with it every change that was in it."""
        self._history = [(snapshot.configuration_index, snapshot.configuration)]


def check_change(old: Configuration, new: Configuration) -> None:
    """Refuse a change after which two majorities might not overlap: more than one member at a time, or no voter left.
    The cluster's nonce never changes."""
    if new.cluster != old.cluster:
        raise ChangeRefused(
            f"this is the cluster {old.cluster or 'without a name'}, not {new.cluster or 'one without'}"
        )
    ids = [member.id for member in new.members]
    if ids != sorted(set(ids)):
        raise ChangeRefused("the members must be sorted by id, each once")
    if not new.voters:
        raise ChangeRefused("a cluster needs a voter")
    changed = {member.id for member in set(old.members) ^ set(new.members)}
    if not changed:
        raise ChangeRefused("this is the configuration already")
    if len(changed) > 1:
        raise ChangeRefused(f"one member at a time: this changes {', '.join(sorted(changed))}")
