"""The log in memory: entries after an anchor, whose term is all that is left of what was compacted. Called by the core."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from chowk.server.raft.errors import BrokenInvariant
from chowk.server.raft.records import ENTRY_OVERHEAD_BYTES, Entry


class RaftLog:
    """Gapless entries. Indexes count from 1; (0, 0) is before the first."""

    def __init__(self, anchor_index: int = 0, anchor_term: int = 0, entries: Sequence[Entry] = ()) -> None:
        self._anchor_index = anchor_index
        self._anchor_term = anchor_term
        self._entries = list(entries)

    @property
    def anchor_index(self) -> int:
        """The last index that was compacted: its term is known, its entry not."""
        return self._anchor_index

    @property
    def last_index(self) -> int:
        """The last entry's index."""
        return self._anchor_index + len(self._entries)

    @property
    def last_term(self) -> int:
        """The last entry's term."""
        return self._entries[-1].term if self._entries else self._anchor_term

    def term_at(self, index: int) -> int | None:
        """The term at `index`; None when it is compacted or not there."""
        if index == self._anchor_index:
            return self._anchor_term
        if self._anchor_index < index <= self.last_index:
            return self._entries[index - self._anchor_index - 1].term
        return None

    def between(self, first: int, last: int) -> list[Entry]:
        """The entries `first` to `last`, both included, as far as they are here; none when `last` is before."""
        start = first - self._anchor_index - 1
        if start < 0:
            raise BrokenInvariant(f"entry {first} was compacted (the log begins after {self._anchor_index})")
        return self._entries[start : max(start, last - self._anchor_index)]

    def bytes_between(self, first: int, last: int) -> int:
        """The size of the entries `first` to `last`."""
        return sum(len(entry.data) + ENTRY_OVERHEAD_BYTES for entry in self.between(first, last))

    def batch(self, first: int, bytes_max: int) -> tuple[tuple[Entry, ...], int]:
        """Entries from `first`, and their size: at least one if there is one, and no more than `bytes_max` else."""
        start = first - self._anchor_index - 1
        size = 0
        for position in range(start, len(self._entries)):
            more = len(self._entries[position].data) + ENTRY_OVERHEAD_BYTES
            if size and size + more > bytes_max:
                return tuple(self._entries[start:position]), size
            size += more
        return tuple(self._entries[start:]), size

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries after the last."""
        if entries and entries[0].index != self.last_index + 1:
            raise BrokenInvariant(f"entry {entries[0].index} cannot follow {self.last_index}")
        self._entries.extend(entries)

    def truncate_from(self, index: int) -> None:
        """Forget the entries at and after `index`."""
        if index <= self._anchor_index:
            raise BrokenInvariant(f"entry {index} was compacted and cannot be truncated")
        del self._entries[index - self._anchor_index - 1 :]

    def compact(self, index: int) -> None:
        """Forget the entries up to `index`, which must be here; nothing when they are gone already."""
        if index <= self._anchor_index:
            return
        term = self.term_at(index)
        if term is None:
            raise BrokenInvariant(f"entry {index} is not there to be compacted (the log ends at {self.last_index})")
        del self._entries[: index - self._anchor_index]
        self._anchor_index, self._anchor_term = index, term

    def start_of(self, first: int, last: int, bytes_max: int) -> int:
        """The first index, from `first` on, of the longest run of entries that ends at `last` with at most `bytes_max`."""
        first = max(first, self._anchor_index + 1)
        start = last + 1
        while start > first:
            bytes_max -= len(self._entries[start - self._anchor_index - 2].data) + ENTRY_OVERHEAD_BYTES
            if bytes_max < 0:
                break
            start -= 1
        return start

    def reset(self, index: int, term: int) -> None:
        """Begin again after a snapshot."""
        self._anchor_index, self._anchor_term = index, term
        self._entries.clear()

    def is_covered_by(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends so is at least as up to date as this one, so that it may lead (dissertation 3.6.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def agreement(self, index: int, term: int) -> int:
        """The greatest index up to `index` with a term of at most `term`: where logs may still agree."""
        known = max(0, min(index, self.last_index) - self._anchor_index)
        if not known:
            return min(index, self._anchor_index)
        return self._anchor_index + bisect.bisect_right(self._entries, term, hi=known, key=lambda entry: entry.term)
