"""How a read is done: how fresh it must be, how long it blocks, and what is truthfully known of the answer.

- `stale`: what this server has, also when nobody leads.
- default: on the leader what it has, once it has caught up in its term (its lease says nobody else leads); elsewhere after
  a read index.
- `consistent`: always after a read index, so that a leader that does not know yet that it was replaced cannot answer.

While nobody leads, default and consistent reads are held for a while (`rpc_hold_timeout`), then refused: a change of leaders
is not seen by who waits that long.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Final, TypeVar

from chowk.core.errors import DeadlineExceeded, InvalidRequest, NoLeader, NoPathToDatacenter
from chowk.core.events import Topic
from chowk.core.requests import CONSISTENT, DEFAULT, STALE, QueryMeta, QueryOptions
from chowk.core.runtime.clock import Clock
from chowk.server.port import Consensus
from chowk.server.state.machine import StoreMachine
from chowk.server.state.store import Store
from chowk.server.stream.wakeups import Wakeups

T = TypeVar("T")

WAIT_S_DEFAULT: Final = 300.0
WAIT_S_MAX: Final = 600.0
HOLD_S: Final = 7.0
RETRY_S_FIRST: Final = 0.02
RETRY_S_MAX: Final = 0.25
JITTER_FRACTION: Final = 16


class Reads:
    """Runs reads of the store for endpoints."""

    def __init__(
        self,
        machine: StoreMachine,
        consensus: Consensus,
        wakeups: Wakeups,
        datacenter: str,
        clock: Clock,
        rng: random.Random,
        hold_s: float = HOLD_S,
    ) -> None:
        self._machine = machine
        self._consensus = consensus
        self._wakeups = wakeups
        self._datacenter = datacenter
        self._clock = clock
        self._rng = rng
        self._hold_s = hold_s
        self._caught_up = False

    async def run(
        self, options: QueryOptions, topics: tuple[Topic, ...], read: Callable[[Store], T]
    ) -> tuple[QueryMeta, T]:
        """`read`'s value and what is known of it; blocks while `min_index` is not passed by the index of `topics`."""
        self._check(options)
        await self.settle(options.consistency)
        deadline = self._clock.now() + self._wait_s(options.max_wait_s)
        while self._must_block(options, topics):
            if not await self._wakeups.wait(topics, deadline - self._clock.now()):
                break
        if options.min_index:
            await self.settle(options.consistency)
        store = self._machine.store
        return self._meta(options, store.last_changed(*topics)), read(store)

    async def settle(self, consistency: str) -> None:
        """Return when a read of this consistency may look at the store. NoLeader when it cannot be known."""
        if consistency == STALE or (consistency == DEFAULT and self._caught_up and self._consensus.has_lease):
            return
        await self._pass_barrier()
        self._caught_up = self._consensus.is_leader

    async def settle_soon(self, within_s: float) -> None:
        """As `settle` for a default read, but return after that time at the latest: then what is here may be stale."""
        with contextlib.suppress(TimeoutError, NoLeader):
            async with asyncio.timeout(within_s):
                await self.settle(DEFAULT)

    async def _pass_barrier(self) -> None:
        deadline = self._clock.now() + self._hold_s
        pause_s = RETRY_S_FIRST
        while True:
            try:
                await self._consensus.read_barrier(timeout_s=max(RETRY_S_FIRST, deadline - self._clock.now()))
            except DeadlineExceeded as error:
                raise NoLeader from error
            except NoLeader:
                if self._clock.now() + pause_s >= deadline:
                    raise
            else:
                return
            await self._clock.sleep(pause_s * self._rng.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, RETRY_S_MAX)

    def led(self) -> None:
        """Leadership began or ended here: the next read makes sure that everything acknowledged before is applied."""
        self._caught_up = False

    def _must_block(self, options: QueryOptions, topics: tuple[Topic, ...]) -> bool:
        """An index from beyond the end of this store is of another one: the answer tells the client to start again."""
        store = self._machine.store
        if not options.min_index or (options.consistency != STALE and options.min_index > max(1, store.index)):
            return False
        return store.last_changed(*topics) <= options.min_index

    def _check(self, options: QueryOptions) -> None:
        self.check_datacenter(options.datacenter)
        if options.consistency not in (DEFAULT, STALE, CONSISTENT):
            raise InvalidRequest(f'Unknown consistency mode "{options.consistency}": use default, stale or consistent')
        if options.min_index < 0:
            raise InvalidRequest("Invalid index")

    def check_datacenter(self, datacenter: str) -> None:
        """NoPathToDatacenter when `datacenter` is not ours ("" is)."""
        if datacenter not in ("", self._datacenter):
            raise NoPathToDatacenter

    def _wait_s(self, asked_s: float) -> float:
        """Up to a sixteenth more than asked, so that clients that were answered together do not come back together."""
        wait_s = min(asked_s, WAIT_S_MAX) if asked_s > 0 else WAIT_S_DEFAULT
        return wait_s + self._rng.uniform(0.0, wait_s / JITTER_FRACTION)

    def _meta(self, options: QueryOptions, index: int) -> QueryMeta:
        return QueryMeta(
            index=index,
            known_leader=bool(self._consensus.leader),
            last_contact_ms=int(self._consensus.last_contact_s * 1000),
            consistency="leader" if options.consistency == DEFAULT else options.consistency,
        )
