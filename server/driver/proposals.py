"""The writes that wait for their result. Used by `driver.engine`."""

from __future__ import annotations

import asyncio
from typing import Final

from chowk.core.errors import NoLeader, OutcomeUnknown, TooManyRequests
from chowk.server.raft.records import Entry

ENTRY_BYTES_MAX: Final = 8 * 1024 * 1024
"""One entry's data."""
PROPOSALS_MAX: Final = 16_384
"""Proposals that wait for their result; more are refused."""


class Proposals:
    """By index. A later term's proposal at the same index takes the place of one that can no longer succeed."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[int, asyncio.Future[object]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def check_room(self) -> None:
        """TooManyRequests when no more may wait: call it before anything is proposed."""
        if len(self._waiting) >= PROPOSALS_MAX:
            raise TooManyRequests(f"{len(self._waiting)} writes wait already")

    async def result(self, index: int, term: int, timeout_s: float) -> object:
        """What applying the entry at `index` gives. NoLeader: another took its place; OutcomeUnknown: perhaps it did."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[object] = loop.create_future()
        _term, replaced = self._waiting.get(index, (0, None))
        if replaced is not None and not replaced.done():
            replaced.set_exception(NoLeader("the entry was replaced before it was committed"))
        self._waiting[index] = mine = (term, waiter)
        timer = loop.call_later(timeout_s, _expire, waiter, timeout_s)
        try:
            return await waiter
        finally:
            timer.cancel()
            if self._waiting.get(index) is mine:
                del self._waiting[index]

    def applied(self, entry: Entry, result: object) -> None:
        """Tell who proposed `entry`, or who proposed another one at its index."""
        term, waiter = self._waiting.get(entry.index, (0, None))
        if waiter is not None and not waiter.done():
            if term == entry.term:
                waiter.set_result(result)
            else:
                waiter.set_exception(NoLeader("another leader's entry took this write's place"))

    def fail(self, error: OutcomeUnknown) -> None:
        """Tell all that wait."""
        for _term, waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(error)


def _expire(waiter: asyncio.Future[object], timeout_s: float) -> None:
    if not waiter.done():
        waiter.set_exception(OutcomeUnknown(f"the write was not acknowledged in {timeout_s:g} s"))
