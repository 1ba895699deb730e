"""The DNS workers of an agent: who runs, who answers, what they counted. Made by `agent.boot`.

The sockets are the agent's. A worker that is ready gets its share of them; one that is gone, or says nothing any more,
leaves it to the agent at once, which answers until the next one is ready. So no query waits for a process to start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from chowk.agent.children import Child
from chowk.agent.workers.orders import Orders, Report, WorkerOptions
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner
from chowk.dns.responder import Stats
from chowk.dns.server import DnsServer

log = structlog.get_logger("chowk.dns")

MODULE: Final = "chowk.agent.workers.main"
LOOK_S: Final = 1.0
SILENT_LOOKS: Final = 5
"""A worker that answers and said nothing in so many looks is stuck, and killed."""

Describe = Callable[[tuple[int, ...], tuple[int, ...]], WorkerOptions]


class _Member:
    """One worker's place: its share of the sockets, and what is known of the process in it."""

    def __init__(self, share: int, child: Child) -> None:
        self.share = share
        self.child = child
        self.serving = False
        self.silent = 0
        self.stats = Stats()


class DnsWorkers:
    """One worker for each share of `dns`, which listens. `describe(udp, tcp)` gives the options of one with them."""

    def __init__(self, dns: DnsServer, describe: Describe, clock: Clock) -> None:
        self._dns = dns
        self._clock = clock
        self._gone = Stats()
        self._handing = asyncio.Lock()
        self._tasks = TaskOwner("dns-workers")
        tcp = tuple(sock.fileno() for sock in dns.sockets.tcp)
        self._members: list[_Member] = []
        for share, sockets in enumerate(dns.sockets.udp):
            udp = tuple(sock.fileno() for sock in sockets)
            self._members.append(self._member(share, udp, tcp, describe))

    def _member(self, share: int, udp: tuple[int, ...], tcp: tuple[int, ...], describe: Describe) -> _Member:
        def options() -> dict[str, Any]:
            return dict(msgspec.to_builtins(describe(udp, tcp)))

        child = Child(
            f"dns-{share}",
            MODULE,
            options,
            self._clock,
            keep=(*udp, *tcp),
            heard=lambda line: self._hear(member, line),
            died=lambda: self._lose(member),
        )
        member = _Member(share, child)
        return member

    async def start(self) -> None:
        """Begin; the agent answers until they do."""
        for member in self._members:
            member.child.launch()
        self._tasks.spawn(self._look(), "look")

    async def close(self) -> None:
        """End them all."""
        await self._tasks.close()
        await asyncio.gather(*(member.child.close() for member in self._members))

    def tell(self, orders: Orders) -> None:
        """Something changed: all workers go by these."""
        line = msgspec.json.encode(orders)
        for member in self._members:
            member.child.tell(line)

    @property
    def serving(self) -> int:
        """How many answer now."""
        return sum(member.serving for member in self._members)

    def stats(self) -> dict[str, int]:
        """The agent's counters, those of its workers, and of workers that are gone, as they last said: a second ago."""
        found = [self._dns.stats(), self._gone, *(member.stats for member in self._members)]
        counts = {name: sum(getattr(each, name) for each in found) for name in Stats.__struct_fields__}
        restarts = sum(member.child.restarts for member in self._members)
        return {**counts, "workers": self.serving, "worker_restarts": restarts}

    def _hear(self, member: _Member, line: bytes) -> None:
        try:
            report = msgspec.json.decode(line, type=Report)
        except ValueError as error:
            log.error("a DNS worker said what cannot be read", error=str(error))
            return
        if report.pid != member.child.pid:
            return  # the last words of one that is gone
        member.silent, member.stats = 0, report.stats
        if report.serving and not member.serving:
            member.serving = True
            self._tasks.spawn(self._hand(member), "hand over")

    def _lose(self, member: _Member) -> None:
        """What it counted stays counted, and its share is the agent's."""
        for name in Stats.__struct_fields__:
            setattr(self._gone, name, getattr(self._gone, name) + getattr(member.stats, name))
        member.stats, member.silent = Stats(), 0
        if member.serving:
            member.serving = False
            self._tasks.spawn(self._hand(member), "take back")

    async def _hand(self, member: _Member) -> None:
        """Who reads the share of this one: it does while it serves, else the agent. One at a time, by what is so then."""
        async with self._handing:
            if member.serving:
                self._dns.leave(member.share)
            else:
                await self._dns.take(member.share)

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            for member in self._members:
                member.silent += 1
                if member.serving and member.silent > SILENT_LOOKS:
                    log.error("a DNS worker is stuck; killing it", pid=member.child.pid)
                    member.silent = 0
                    member.child.kill()
