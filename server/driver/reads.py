"""The reads that wait for the index they must see. Used by `driver.engine`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from chowk.core.errors import NoLeader, TooManyRequests
from chowk.server.raft.effects import ReadState

READS_MAX: Final = 16_384
"""Reads that wait for their index; more are refused."""


class Reads:
    """By the context that the core answers with."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._count = 0

    def begin(self) -> tuple[int, asyncio.Future[int]]:
        """A new context, and its index to come; NoLeader in its place. Call `end`. TooManyRequests."""
        if len(self._waiting) >= READS_MAX:
            raise TooManyRequests(f"{len(self._waiting)} reads wait already")
        self._count += 1
        self._waiting[self._count] = index = asyncio.get_running_loop().create_future()
        return self._count, index

    def end(self, context: int) -> None:
        """Nobody waits any more."""
        self._waiting.pop(context, None)

    def answer(self, answers: Sequence[ReadState]) -> None:
        """What the core says."""
        for answer in answers:
            waiter = self._waiting.get(answer.context)
            if waiter is not None and not waiter.done():
                if answer.index is None:
                    waiter.set_exception(NoLeader())
                else:
                    waiter.set_result(answer.index)

    def fail(self) -> None:
        """Tell all that wait."""
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(NoLeader())
