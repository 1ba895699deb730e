"""Reads that many clients make at once are made once. Called by `reads` and `quick_gets`; a shell around the RPC client.

A read that does not block is joined only before it is sent: whoever asks while one is under way waits for the next, so that
an answer is never older than its question. Blocking queries for the same thing past the same index share one call; who came
after it was sent is told by it only that there is something new, and reads that again. When it ends, the answer goes to its
waiters a few at a time, and the loop does other work between.

Bound: what waits here is as many requests as there are connections (`connections.CONNECTIONS_MAX`).
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from functools import partial
from random import Random
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import msgspec

from chowk.agent.api.deadlines import Deadlines
from chowk.agent.client.pool import RPC_HOLD_S, TIMEOUT_S
from chowk.core.errors import ChowkError
from chowk.core.requests import STALE, QueryMeta, QueryOptions
from chowk.core.runtime.tasks import TaskOwner

JITTER_PART: Final = 16
"""A blocking read waits up to wait/16 longer than asked, as at the servers: who came together goes apart."""

ANSWERS_A_TURN: Final = 128
"""Waiters answered in one turn of the loop, each in some 50 us."""

JOIN_S: Final = 0.05
"""Who comes later than this after a read was sent does not wait for its end: that one may hang."""

SHARED_WAIT_S: Final = 600.0

STEP_S: Final = 0.5
LONG_S: Final = 10.0
"""A wait that is longer may end a step late: less than its jitter."""

_CONTEXT: Final = contextvars.copy_context()
"""One for all callbacks: of its own each would have a copy."""


class Answered(Protocol):
    """A reply that says what is known of it."""

    @property
    def meta(self) -> QueryMeta: ...


A = TypeVar("A", bound=Answered)
Fetch: TypeAlias = Callable[[QueryOptions, float], Awaitable[A]]
"""Asks the servers with these options, within that many seconds."""

Key: TypeAlias = tuple[Hashable, QueryOptions]
Outcome: TypeAlias = Answered | BaseException


class _Lane:
    """Reads of one thing that do not block: those under way, and who waits for the next."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[Any]] = []
        self.flying = 0
        self.began_s = 0.0


class _Watch:
    """One blocking call. `waiting`: with how many calls were sent when each came, and what ends its wait (see `_wait`).
    `left` is told of those who want no answer any more, or have one."""

    def __init__(self, key: Key, fetch: Any, left: Callable[[_Watch, asyncio.Future[Any]], None]) -> None:
        self.key = key
        self.fetch = fetch
        self.left = partial(left, self)
        self.waiting: dict[asyncio.Future[Any], tuple[int, int | asyncio.TimerHandle]] = {}
        self.sent = 0
        self.task: asyncio.Task[None] | None = None


class SharedReads:
    """Of one agent's API. `rng` spreads the ends of waits."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._tasks = TaskOwner("reads")
        self._lanes: dict[Key, _Lane] = {}
        self._watches: dict[Key, _Watch] = {}
        self._due: deque[tuple[asyncio.Future[Any], Outcome]] = deque()
        self._answering = False
        self._ends: Deadlines[asyncio.Future[Any], _Watch] = Deadlines(STEP_S, self._expire)

    async def close(self, timeout_s: float = 0.0) -> None:
        """End what is under way; reads that do not block get `timeout_s`."""
        for watch in self._watches.values():
            if watch.task is not None:
                watch.task.cancel()
        await self._tasks.wait(timeout_s)
        await self._tasks.close()

    def __len__(self) -> int:
        return len(self._lanes) + len(self._watches)

    def ask(self, what: Hashable, options: QueryOptions, fetch: Fetch[A]) -> asyncio.Future[A]:
        """The answer to come. `what` names all of the question but `options`; cancel the future to want it no more."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        if options.min_index:
            self._wait(future, what, options, fetch)
        else:
            self._join((future,), what, options, fetch)
        return future

    def run(self, reading: Coroutine[Any, Any, A]) -> asyncio.Future[A]:
        """The answer to come of a read that is shared with nobody; cancel the future to want it no more."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        task = self._tasks.spawn(_settle(reading, future), "own read")
        future.add_done_callback(lambda _: task.cancel())
        return future

    # --- reads that do not block

    def _join(self, futures: Iterable[asyncio.Future[Any]], what: Hashable, options: QueryOptions, fetch: Any) -> None:
        options = _unblocked(options)
        key = (what, options)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        lane.waiting.extend(futures)
        if not lane.flying or asyncio.get_running_loop().time() - lane.began_s > JOIN_S:
            self._launch(key, lane, fetch)

    def _launch(self, key: Key, lane: _Lane, fetch: Any) -> None:
        lane.flying += 1
        lane.began_s = asyncio.get_running_loop().time()
        self._tasks.spawn(self._fly(key, lane, fetch), "read")

    async def _fly(self, key: Key, lane: _Lane, fetch: Any) -> None:
        passengers, lane.waiting = lane.waiting, []
        outcome: Outcome = asyncio.CancelledError()
        try:
            outcome = await fetch(key[1], TIMEOUT_S)
        except ChowkError as error:
            outcome = error
        except Exception as error:  # those who wait must hear of a bug of ours too
            outcome = error
            raise
        finally:
            lane.flying -= 1
            if lane.waiting and not lane.flying and not isinstance(outcome, asyncio.CancelledError):
                self._launch(key, lane, fetch)
            if not lane.flying:
                self._lanes.pop(key, None)
                passengers += lane.waiting
            self._answer(passengers, outcome)

    # --- blocking queries

    def _wait(self, future: asyncio.Future[Any], what: Hashable, options: QueryOptions, fetch: Any) -> None:
        key = (what, msgspec.structs.replace(options, max_wait_s=SHARED_WAIT_S))
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = _Watch(key, fetch, self._left)
            watch.task = self._tasks.spawn(self._follow(watch), "blocking read")
        wait_s = options.max_wait_s * (1 + self._rng.random() / JITTER_PART)
        if wait_s > LONG_S:
            end: int | asyncio.TimerHandle = self._ends.add(future, watch, wait_s)
        else:
            end = asyncio.get_running_loop().call_later(wait_s, self._expire, future, watch)
        watch.waiting[future] = (watch.sent, end)
        future.add_done_callback(watch.left, context=_CONTEXT)

    def _expire(self, future: asyncio.Future[Any], watch: _Watch) -> None:
        """Its time is over: it gets what is there now."""
        if not future.done():
            self._left(watch, future)
            self._join((future,), *watch.key, watch.fetch)

    def _left(self, watch: _Watch, future: asyncio.Future[Any]) -> None:
        waited = watch.waiting.pop(future, None)
        if waited is not None:
            self._stop(future, waited[1])
            if not watch.waiting and watch.task is not None:
                self._forget(watch)
                watch.task.cancel()

    def _stop(self, future: asyncio.Future[Any], end: int | asyncio.TimerHandle) -> None:
        if isinstance(end, int):
            self._ends.remove(future, end)
        else:
            end.cancel()

    def _forget(self, watch: _Watch) -> None:
        if self._watches.get(watch.key) is watch:
            del self._watches[watch.key]

    async def _follow(self, watch: _Watch) -> None:
        what, options = watch.key
        timeout_s = SHARED_WAIT_S * (1 + 1 / JITTER_PART) + RPC_HOLD_S + TIMEOUT_S
        outcome: Outcome = asyncio.CancelledError()
        try:
            while True:
                watch.sent += 1
                outcome = reply = await watch.fetch(options, timeout_s)
                if reply.meta.index != options.min_index:
                    break
        except ChowkError as error:
            outcome = error
        except asyncio.CancelledError as error:
            outcome = error
            raise
        except Exception as error:  # as above
            outcome = error
            raise
        finally:
            self._forget(watch)
            waited, watch.waiting = watch.waiting, {}
            for future, (_sent, end) in waited.items():
                self._stop(future, end)
            # What was sent before somebody came may have been read before, too: that is for a stale read only.
            fresh = isinstance(outcome, BaseException) or options.consistency == STALE
            early = [future for future, (sent, _) in waited.items() if fresh or sent < watch.sent]
            late = [future for future, (sent, _) in waited.items() if not (fresh or sent < watch.sent)]
            self._answer(early, outcome)
            if late:
                self._join(late, what, options, watch.fetch)

    # --- answers

    def _answer(self, futures: Iterable[asyncio.Future[Any]], outcome: Outcome) -> None:
        self._due.extend((future, outcome) for future in futures)
        if self._due and not self._answering:
            self._answer_some()

    def _answer_some(self) -> None:
        for _ in range(min(ANSWERS_A_TURN, len(self._due))):
            future, outcome = self._due.popleft()
            if future.done():
                continue
            if isinstance(outcome, asyncio.CancelledError):
                future.cancel()
            elif isinstance(outcome, BaseException):
                future.set_exception(copy.copy(outcome))  # one that is raised twice grows by a traceback each time
            else:
                future.set_result(outcome)
        self._answering = bool(self._due)
        if self._answering:
            asyncio.get_running_loop().call_soon(self._answer_some)


async def _settle(reading: Coroutine[Any, Any, A], future: asyncio.Future[A]) -> None:
    try:
        answer = await reading
    except asyncio.CancelledError:
        future.cancel()
        raise
    except Exception as error:
        if not future.done():
            future.set_exception(error)
        if not isinstance(error, ChowkError):
            raise
    else:
        if not future.done():
            future.set_result(answer)


def _unblocked(options: QueryOptions) -> QueryOptions:
    return msgspec.structs.replace(options, min_index=0, max_wait_s=0.0)
