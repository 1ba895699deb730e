"""Who waits at a simulated server for a write, a read or an index, and what they hear: see `driver.proposals` and beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from chowk.core.commands import Applied
from chowk.server.raft.effects import ReadState
from chowk.server.raft.records import Entry


class Outcome(msgspec.Struct, frozen=True):
    """What a client hears: `result` of a write or `value` of a read at `index`; `refused`: certainly not done here."""

    refused: bool = False
    result: Applied | None = None
    value: int = 0
    index: int = 0


Answer = Callable[[Outcome | None], None]
"""Called with None when the outcome is unknown."""
REFUSED = Outcome(refused=True)


class Waiters:
    """Of one server, in one life."""

    def __init__(self) -> None:
        self._proposals: dict[int, tuple[int, Answer]] = {}
        self._reads: dict[int, Callable[[int | None], None]] = {}
        self._reaching: list[tuple[int, Callable[[], None]]] = []

    def propose(self, index: int, term: int, answer: Answer) -> None:
        """A write was appended; one at the same index, of an earlier term, can no longer succeed."""
        _term, replaced = self._proposals.get(index, (0, None))
        if replaced is not None:
            replaced(REFUSED)
        self._proposals[index] = (term, answer)

    def applied(self, entry: Entry, result: Applied | None) -> None:
        """Tell who proposed this entry, or another at its index."""
        term, answer = self._proposals.pop(entry.index, (0, None))
        if answer is not None:
            answer(Outcome(result=result) if term == entry.term else REFUSED)

    def read(self, context: int, known: Callable[[int | None], None]) -> None:
        """A read waits for its index."""
        self._reads[context] = known

    def answer_reads(self, states: Sequence[ReadState]) -> None:
        """The core knows the indexes of reads."""
        for state in states:
            known = self._reads.pop(state.context, None)
            if known is not None:
                known(state.index)

    def reach(self, index: int, then: Callable[[], None]) -> None:
        """Call back when this index is applied."""
        self._reaching.append((index, then))

    def reached(self, applied: int) -> None:
        """Tell those whose index is applied."""
        ready = [then for index, then in self._reaching if index <= applied]
        self._reaching = [waiting for waiting in self._reaching if waiting[0] > applied]
        for then in ready:
            then()

    def fail(self) -> None:
        """Nobody will hear more."""
        proposals, reads = list(self._proposals.values()), list(self._reads.values())
        self._proposals.clear()
        self._reads.clear()
        self._reaching.clear()
        for _term, answer in proposals:
            answer(None)
        for known in reads:
            known(None)
