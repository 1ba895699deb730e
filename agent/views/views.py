"""Materialised views: what the agent knows of the registry, in memory, kept up by event streams.

DNS, `?cached` HTTP, proxies and alias checks read them. A view keeps its items when every server is gone. A shell around
`fold.Fold`; made by `agent.boot`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeVar, cast

import structlog

from chowk.agent.client.pool import ServerClient
from chowk.agent.views.fold import Fold
from chowk.core import errors
from chowk.core.events import Payload, Topic
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

T = TypeVar("T")
log = structlog.get_logger("chowk.views")

VIEWS_MAX: Final = 4096
"""Open views of an agent; when all are in use a further one is refused with TooManyRequests."""

IDLE_S: Final = 1200.0
SWEEP_S: Final = 60.0
READY_S: Final = 5.0


class View:
    """One topic. `items` maps item keys (see `core.events`) to payloads and is never changed in place.

    `generation` grows with each visible change and is never used twice, not by another view of the same topic either.
    """

    def __init__(self, topic: Topic, client: ServerClient, next_generation: Callable[[], int], now: float) -> None:
        self.topic = topic
        self.used_at = now
        self.generation = next_generation()
        self.failure: errors.ChowkError | None = None
        self._client = client
        self._next_generation = next_generation
        self._fold = Fold()
        self._callbacks: list[Callable[[], None]] = []
        self._waiters: set[asyncio.Future[None]] = set()
        self._memo: dict[str, tuple[int, Any]] = {}

    @property
    def ready(self) -> bool:
        """True once a whole snapshot was seen; it never becomes False again."""
        return self._fold.ready

    @property
    def items(self) -> Mapping[str, Payload]:
        """The items by key; empty until `ready`."""
        return self._fold.items

    @property
    def index(self) -> int:
        """The store's index that the items are as of."""
        return self._fold.index

    @property
    def changed_index(self) -> int:
        """The index of the last change: what a blocking reader compares with."""
        return self._fold.changed_index

    @property
    def age_s(self) -> float:
        """How old the items may be: 0 while a server is there, else the seconds since it was lost."""
        return self._client.silent_s

    @property
    def in_use(self) -> bool:
        """True while somebody follows it or waits on it; such a view is not closed."""
        return bool(self._callbacks or self._waiters)

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back soon after each visible change; returns what ends that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def memo(self, name: str, compute: Callable[[View], T]) -> T:
        """`compute(self)`, kept under `name` until the next change. `name` is one of a few constants of the caller."""
        kept = self._memo.get(name)
        if kept is None or kept[0] != self.generation:
            kept = self._memo[name] = (self.generation, compute(self))
        return cast(T, kept[1])

    async def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Return once `ready`. Unavailable after `timeout_s`, or the error that ended the subscription."""
        if not await self._wait(lambda: self.ready, timeout_s):
            raise errors.Unavailable(f"{self.topic.kind} {self.topic.key}: no server answered in {timeout_s:g}s")

    async def wait_index(self, min_index: int, timeout_s: float) -> None:
        """Return once a change after `min_index` shows, or `timeout_s` ends, or the index went back below it."""
        await self._wait(lambda: self.changed_index != min_index, timeout_s)

    async def run(self) -> None:
        """Follow the topic for ever. Run as a task by `Views`."""
        async with aclosing(self._client.subscribe(self.topic)) as frames:  # type: ignore[type-var]
            try:
                async for frame in frames:
                    if self._fold.receive(frame):
                        self.generation = self._next_generation()
                        self._tell()
            except errors.ChowkError as error:
                log.warning("view ended", topic=self.topic, error=str(error))
                self.failure = error
                self._tell()

    def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        for callback in list(self._callbacks):
            loop.call_soon(callback)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while not done():
                    if self.failure is not None:
                        raise self.failure
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
        except TimeoutError:
            return False
        return True


class Views:
    """All views of an agent. One that nobody has used for IDLE_S is closed."""

    def __init__(self, client: ServerClient, clock: Clock, *, views_max: int = VIEWS_MAX) -> None:
        self._client = client
        self._clock = clock
        self._views_max = views_max
        self._views: dict[Topic, View] = {}
        self._running: dict[Topic, asyncio.Task[Any]] = {}
        self.epoch = 0
        """Grows whenever a view changes, is opened or is closed: what nothing happened to needs no second look."""
        self._tasks = TaskOwner("views")

    async def start(self) -> None:
        """Begin to close idle views."""
        self._tasks.spawn(self._sweep(), "sweep")

    async def close(self) -> None:
        """End every view."""
        await self._tasks.close()
        self._views.clear()
        self._running.clear()

    def __len__(self) -> int:
        return len(self._views)

    def peek(self, topic: Topic) -> View | None:
        """The view of a topic when it is open; counts as a use."""
        view = self._views.get(topic)
        if view is not None:
            view.used_at = self._clock.now()
        return view

    def view(self, topic: Topic) -> View:
        """The view of a topic, opened on first use. TooManyRequests when `views_max` are open and none of them is unused."""
        view = self.peek(topic)
        if view is not None and view.failure is None:
            return view
        if view is not None:
            self._drop(view)
        elif len(self._views) >= self._views_max:
            self._make_room()
        view = View(topic, self._client, self._next_generation, self._clock.now())
        self._views[topic] = view
        self._running[topic] = self._tasks.spawn(view.run(), f"{topic.kind}/{topic.key}")
        return view

    def _next_generation(self) -> int:
        self.epoch += 1
        return self.epoch

    def _make_room(self) -> None:
        unused = [view for view in self._views.values() if not view.in_use]
        if not unused:
            raise errors.TooManyRequests(f"{len(self._views)} views are open and in use")
        self._drop(min(unused, key=lambda view: view.used_at))

    def _drop(self, view: View) -> None:
        self.epoch += 1
        del self._views[view.topic]
        self._running.pop(view.topic).cancel()

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_S)
            idle_since = self._clock.now() - IDLE_S
            for view in [view for view in self._views.values() if not view.in_use and view.used_at <= idle_since]:
                self._drop(view)
