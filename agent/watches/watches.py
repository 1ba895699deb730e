"""The agent's own watches, from its files: each a task that asks the agent's HTTP API. Made, reloaded and closed by boot.

A watch whose definition a reload leaves as it is goes on; its handler is not run again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp
import structlog

from chowk.agent.checks.dial import in_words
from chowk.agent.checks.outcome import readable
from chowk.agent.checks.process import Tail
from chowk.agent.config.model import WatchDefinition
from chowk.agent.watches.changes import changes
from chowk.agent.watches.guard import Guard
from chowk.agent.watches.handlers import OUTPUT_BYTES_MAX, HandlerFailed, post_change, run_handler, shell
from chowk.agent.watches.plan import Answer, Ask, Change, WatchFailed, WatchPlan
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.watches")
REPLY_BYTES_MAX: Final = 64 * 1024 * 1024
ANSWER_S: Final = 60.0
"""A question is answered in this time, its blocking included."""


class Watches:
    """Runs watches. `address()` is the base URL of the agent's own API, "" when it has none."""

    def __init__(self, definitions: Sequence[WatchDefinition], address: Callable[[], str], clock: Clock) -> None:
        self._definitions = tuple(definitions)
        self._address = address
        self._clock = clock
        self._owner = TaskOwner("watches")
        self._running: list[tuple[WatchDefinition, asyncio.Task[None]]] = []
        self._session: aiohttp.ClientSession | None = None
        self.guard = Guard(clock)

    def __len__(self) -> int:
        return len(self._running)

    async def start(self) -> None:
        """Begin them all."""
        await self.reload(self._definitions)

    async def reload(self, definitions: Sequence[WatchDefinition]) -> None:
        """End those that are no longer wanted, with what they run, and begin the new ones."""
        if definitions and not self._address():
            log.error("watches need the agent's HTTP API, which is off: they do not run", watches=len(definitions))
            definitions = ()
        wanted = Counter(_identity(definition) for definition in definitions)
        kept, ended = [], []
        for definition, task in self._running:
            identity = _identity(definition)
            if wanted[identity] and not task.done():
                wanted[identity] -= 1
                kept.append((definition, task))
            else:
                task.cancel()
                ended.append(task)
        if ended:
            await asyncio.wait(ended)
        if any(definition.request is None for definition in definitions):
            self.guard.start()
        for definition in definitions:
            if wanted[_identity(definition)]:
                wanted[_identity(definition)] -= 1
                kept.append((definition, self._owner.spawn(self._follow(definition), definition.type)))
        self._running = kept

    async def close(self) -> None:
        """End them all, and everything they run."""
        await self._owner.close()
        await self.guard.close()
        self._running = []
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _follow(self, definition: WatchDefinition) -> None:
        def tell(failure: WatchFailed, wait_s: float) -> None:
            log.warning("watch errored", type=definition.type, error=str(failure), retry_s=wait_s)

        async for change in changes(WatchPlan(definition), self._fetch, self._clock, tell):
            await self._handle(definition, change)

    async def _handle(self, definition: WatchDefinition, change: Change) -> None:
        output = Tail(OUTPUT_BYTES_MAX)
        try:
            if definition.request is not None:
                await post_change(definition.request, change, self._client())
            else:
                await self._run(definition.args or (shell(), "-c", definition.shell_line), change, output)
        except HandlerFailed as error:
            log.error("watch handler failed", type=definition.type, error=str(error), output=readable(output.data))
        else:
            log.debug("watch handler ran", type=definition.type, index=change.index, output=readable(output.data))

    async def _run(self, arguments: Sequence[str], change: Change, output: Tail) -> None:
        groups: list[int] = []

        def begun(group: int) -> None:
            groups.append(group)
            self.guard.begun(group)

        try:
            await run_handler(arguments, change, output, begun)
        finally:
            for group in groups:
                self.guard.ended(group)

    async def _fetch(self, ask: Ask) -> Answer:
        headers = {"X-Consul-Token": ask.token} if ask.token else {}
        query = [(name, value) for name, values in ask.query.items() for value in _listed(values)]
        try:
            async with self._client().get(
                self._address() + ask.path,
                params=query,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            ) as response:
                body = bytearray()
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > REPLY_BYTES_MAX:
                        raise WatchFailed(f"the answer has more than {REPLY_BYTES_MAX} bytes")
                index = response.headers.get("X-Consul-Index", "")
                content_hash = response.headers.get("X-Consul-ContentHash", "")
                return Answer(response.status, int(index) if index.isdigit() else 0, content_hash, bytes(body))
        except TimeoutError:
            raise WatchFailed("the agent did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise WatchFailed(in_words(error)) from error

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        return self._session


def _identity(definition: WatchDefinition) -> str:
    return repr(definition)


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values
