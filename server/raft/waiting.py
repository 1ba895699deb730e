"""Reads under way: on a leader those that wait for a round, on a follower those that the leader was asked about."""

from __future__ import annotations


class WaitingRead:
    """A read index under way on a leader: `server` is "" for one asked here. Until it rides on a round, `round` is 0."""

    def __init__(self, server: str, context: int) -> None:
        self.server = server
        self.context = context
        self.index = 0
        self.round = 0


class ForwardedReads:
    """A follower's reads. One question to the leader is under way at a time; what comes meanwhile gathers for the next.

    The questions' numbers begin at a random one (`first`): an answer to a question of this server's life before a crash
    must not be taken for one of now.
    """

    def __init__(self, first: int) -> None:
        self.question = first
        self.asked_s = float("-inf")
        self._asked: list[int] = []
        self._gathered: list[int] = []

    def __len__(self) -> int:
        return len(self._asked) + len(self._gathered)

    def add(self, context: int) -> None:
        """Another read."""
        self._gathered.append(context)

    def ask(self, now: float, patience_s: float) -> bool:
        """Whether to ask the leader `question` now: there are reads, and no question is under way, or not answered for
        long, so that it or its answer may be lost."""
        if not len(self) or (self._asked and now - self.asked_s < patience_s):
            return False
        self._asked += self._gathered
        self._gathered = []
        self.question += 1
        self.asked_s = now
        return True

    def answered(self, question: int) -> list[int]:
        """The contexts that this answer is for: none when it is of an earlier question."""
        if question != self.question:
            return []
        contexts, self._asked = self._asked, []
        return contexts

    def clear(self) -> list[int]:
        """Give up all: their contexts."""
        contexts = self._asked + self._gathered
        self._asked, self._gathered = [], []
        return contexts
