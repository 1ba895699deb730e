"""The one loop around gossip's core: waits for input or the core's next deadline, feeds the core, performs its effects.

Owned by `driver`, which is told the effects that are neither a packet nor an exchange. Nobody else runs the core's timers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from chowk.agent.gossip.core import GossipCore
from chowk.agent.gossip.effects import Address, Effect, OpenExchange, SendDatagram
from chowk.agent.gossip.sealed import Refused
from chowk.agent.gossip.transport import Transport
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

INBOX_MAX: Final = 4096
"""Packets waiting for the loop; more are dropped and counted, as UDP may."""

BATCH: Final = 256
"""Packets fed to the core before it is asked for effects and others have their turn."""

EXCHANGES_MAX: Final = 96
"""Questions of ours over TCP at a time; more fail at once. The core keeps to fewer."""

IDLE_S: Final = 60.0
"""The loop looks again at least so often, also when the core waits for nothing (it has left)."""

STALL_TURNS: Final = 4
"""Turns of the event loop given to the sockets before timers that are late: the answers may be there already."""

CORE: Final = b"g"
"""The first byte of a question to the core; others are the shell's own."""


class Loop:
    """`late_s`: timers that are later than this mean that we stood still. `tell(effects)` gets what is not ours to do."""

    def __init__(
        self,
        core: GossipCore,
        transport: Transport,
        tasks: TaskOwner,
        clock: Clock,
        late_s: float,
        tell: Callable[[Sequence[Effect]], None],
    ) -> None:
        self.core = core
        self._transport = transport
        self._tasks = tasks
        self._clock = clock
        self._late_s = late_s
        self._tell = tell
        self._inbox: deque[tuple[bytes, Address]] = deque()
        self._wake = asyncio.Event()
        self._exchanges = 0
        self.dropped = 0

    async def run(self) -> None:
        """For ever."""
        core, clock = self.core, self._clock
        while True:
            self._read(BATCH)
            if clock.now() - core.next_deadline() >= self._late_s:
                # We stood still (SIGSTOP, a busy machine): hear what came meanwhile before judging anybody.
                for _ in range(STALL_TURNS):
                    await asyncio.sleep(0)
                self._read(len(self._inbox))
            if core.next_deadline() <= clock.now():
                core.handle_timer(clock.now())
            self._perform(core.take_effects())
            if self._inbox:
                await asyncio.sleep(0)
                continue
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(IDLE_S, max(0.0, core.next_deadline() - clock.now()))):
                    await self._wake.wait()

    def feed(self) -> GossipCore:
        """The core, about to be told something: the loop then looks at what follows."""
        self._wake.set()
        return self.core

    def enqueue(self, packet: bytes, sender: Address) -> None:
        """A datagram came."""
        if len(self._inbox) >= INBOX_MAX:
            self.dropped += 1
            return
        self._inbox.append((packet, sender))
        self._wake.set()

    def _read(self, count: int) -> None:
        for _ in range(min(count, len(self._inbox))):
            packet, sender = self._inbox.popleft()
            self.core.receive(packet, sender, self._clock.now())

    def _perform(self, effects: Sequence[Effect]) -> None:
        others = []
        for effect in effects:
            if isinstance(effect, SendDatagram):
                self._transport.send(effect.packet, effect.address)
            elif isinstance(effect, OpenExchange):
                self._open(effect)
            else:
                others.append(effect)
        if others:
            self._tell(others)

    def _open(self, effect: OpenExchange) -> None:
        if self._exchanges >= EXCHANGES_MAX:
            self.feed().exchange_failed(effect.id, "too many exchanges are under way", self._clock.now())
            return
        self._exchanges += 1
        self._tasks.spawn(self._exchange(effect), f"exchange-{effect.id}")

    async def _exchange(self, effect: OpenExchange) -> None:
        try:
            answer = await self._transport.ask(CORE + effect.request, effect.address, effect.timeout_s)
        except (OSError, ValueError, EOFError) as error:
            self.feed().exchange_failed(effect.id, reason_of(error, effect.timeout_s), self._clock.now())
        else:
            self.feed().exchange_answered(effect.id, answer, self._clock.now())
        finally:
            self._exchanges -= 1


def reason_of(error: Exception, timeout_s: float) -> str:
    """Why an exchange came to nothing, for people."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: no agent listens there"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, EOFError | ConnectionResetError):
        return "it ended the connection"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"its answer was refused: {error}" if isinstance(error, Refused) else str(error)
