"""The surge: fifty times the usual traffic, callers that try again, proxies at their limit, and a service that answers none
because it works on requests whose callers are gone.

It starts from that service: it takes whatever comes, works on WORKERS at a time and forgets nothing; from callers that retry
three times and give up after a second. In front of it the sidecar lets in what it can do, the important first, refuses the
rest at once, and the callers' sidecar stops retrying. All figures are ratios of what was measured in the same run.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import uvloop

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.mesh import mesh_hcl
from harness.ports import free_port

WORKERS, WORK_S = 4, 0.1
PATIENCE_S = 1.0
SURGE = 50
SURGE_S = 6.0
RECOVERY_S = 10.0
CONNECTIONS_MAX = 3000
MEMORY_MAX = 64 * 1024 * 1024
"""What a sidecar may grow by."""
ENTRIES = """
config_entries { bootstrap = [
  {
    kind = "service-defaults", name = "api", protocol = "http"
    concurrency { limit = 400, adaptive = true, priority_header = "x-priority" }
  },
  {
    kind = "service-router", name = "api"
    routes = [ { destination { num_retries = 3, retry_on = [ "5xx", "connect-failure", "reset" ] } } ]
  }
] }
"""


class SlowService(asyncio.Protocol):
    """Answers after WORK_S, half of it more or less; WORKERS requests at a time, in the order that they came, whoever has
    left meanwhile.
    """

    workers: asyncio.Semaphore
    rng = random.Random(1)
    begun = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            asyncio.get_running_loop().create_task(self.answer())

    async def answer(self) -> None:
        async with SlowService.workers:
            SlowService.begun += 1
            await asyncio.sleep(WORK_S * (0.5 + self.rng.random()))
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Call(asyncio.Protocol):
    """A caller's connection: one request at a time. `told` hears the status; 0 when there was none."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._buffer = b""
        self.told: Callable[[int], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self, priority: str, told: Callable[[int], None]) -> None:
        self.told = told
        self._transport.write(f"GET / HTTP/1.1\r\nHost: api\r\nX-Priority: {priority}\r\n\r\n".encode())
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._give_up)

    def _give_up(self) -> None:
        self._end(0)
        self._transport.abort()

    def _end(self, status: int) -> None:
        told, self.told = self.told, None
        if told is not None:
            self._timer.cancel()
            told(status)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = b""
        self._end(int(head[9:12]))
        if b"connection: close" in head.lower():
            self._transport.close()
        else:
            self._callers.idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._callers.open -= 1
        if self in self._callers.idle:
            self._callers.idle.remove(self)
        self._end(0)


class Callers:
    """Everybody who calls the service, through one sidecar."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.idle: list[Call] = []
        self.open = 0
        self.statuses: Counter[tuple[str, int]] = Counter()
        self._asked: set[asyncio.Task[None]] = set()

    async def ask(self, priority: str = "default") -> int:
        if not self.idle:
            if self.open >= CONNECTIONS_MAX:
                self.statuses[priority, -1] += 1
                return -1
            self.open += 1
            loop = asyncio.get_running_loop()
            try:
                _, call = await loop.create_connection(lambda: Call(self), "127.0.0.1", self._port)
            except OSError:
                self.open -= 1
                self.statuses[priority, 0] += 1
                return 0
        else:
            call = self.idle.pop()
        answer = asyncio.get_running_loop().create_future()
        call.ask(priority, lambda status: None if answer.done() else answer.set_result(status))
        status = await answer
        self.statuses[priority, status] += 1
        return status

    async def at_rate(self, per_s: float, seconds: float, critical_per_s: float = 0.0) -> None:
        """An open loop: requests begin when they begin, whatever became of those before."""
        loop = asyncio.get_running_loop()
        began, sent, critical = loop.time(), 0, 0
        while (passed := loop.time() - began) < seconds:
            while sent < passed * per_s:
                sent += 1
                important = critical < passed * critical_per_s
                critical += important
                task = loop.create_task(self._ask("critical" if important else "sheddable"))
                self._asked.add(task)
                task.add_done_callback(self._asked.discard)
            await asyncio.sleep(0.005)
        await asyncio.gather(*self._asked)

    async def _ask(self, priority: str) -> None:
        await self.ask(priority)

    async def busy(self, count: int, seconds: float) -> float:
        """A closed loop of `count`: what the service can do, in good answers a second."""
        ends = asyncio.get_running_loop().time() + seconds

        async def one() -> int:
            good = 0
            while asyncio.get_running_loop().time() < ends:
                good += await self.ask() == 200
            return good

        return sum(await asyncio.gather(*(one() for _ in range(count)))) / seconds


def memory(pids: list[int]) -> dict[int, int]:
    """Bytes that each process holds for itself."""
    found = {}
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        found[pid] = 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private"))
    return found


def sidecars(agent: AgentProcess) -> list[int]:
    """The processes forked from the launcher."""
    launcher = agent.child("chowk.connect.proxy.launcher")
    return [int(pid) for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]


def test_a_service_answers_what_it_can_in_a_surge_the_important_first_and_is_itself_again_after_it(
    tmp_path: Path,
) -> None:
    uvloop.run(surge(tmp_path))


async def surge(folder: Path) -> None:
    SlowService.workers, SlowService.begun = asyncio.Semaphore(WORKERS), 0
    loop = asyncio.get_running_loop()
    service = await loop.create_server(SlowService, "127.0.0.1", 0)
    upstream = free_port()
    with (
        HttpApp("web") as web,
        AgentProcess(folder, mesh_hcl(web.port, service.sockets[0].getsockname()[1], upstream, ENTRIES)) as agent,
    ):
        callers = Callers(upstream)
        for _ in range(200):
            if await callers.ask() == 200:
                break
            await asyncio.sleep(0.1)
        capacity = await callers.busy(2 * WORKERS, 4.0)
        assert capacity > 0.5 * WORKERS / WORK_S, "the machine can carry this"
        before = memory(sidecars(agent))

        callers.statuses.clear()
        SlowService.begun = 0
        await callers.at_rate(SURGE * capacity, SURGE_S, critical_per_s=capacity / 2)
        seen, begun = callers.statuses.copy(), SlowService.begun
        good = sum(count for (_, status), count in seen.items() if status == 200)
        text = f"capacity {capacity:.1f}/s, good {good / SURGE_S:.1f}/s, begun {begun}, {dict(seen)}\n{agent.log()}"
        assert good / SURGE_S >= 0.8 * capacity, text
        assert begun <= 1.5 * capacity * (SURGE_S + PATIENCE_S), f"what is refused reaches nobody: {text}"
        critical = sum(count for (priority, _), count in seen.items() if priority == "critical")
        # In its first second the limit is still that of quiet hours, and comes down: nobody gets in meanwhile.
        assert seen["critical", 200] >= 0.6 * critical, f"the important goes first: {text}"
        refused = sum(count for (_, status), count in seen.items() if status == 503)
        assert refused >= 0.8 * sum(seen.values()), f"the others hear so, and do not wait: {text}"
        grown = {pid: (now - before[pid]) / 2**20 for pid, now in memory(sidecars(agent)).items()}
        assert max(grown.values()) * 2**20 < MEMORY_MAX, f"{grown} MB"

        # Quiet again: everything is answered, RECOVERY_S after the surge at the latest.
        ends, row = loop.time() + RECOVERY_S, 0
        while row < 20:
            assert loop.time() < ends, f"it has recovered: {callers.statuses}\n{agent.log()}"
            row = row + 1 if await callers.ask() == 200 else 0
    service.close()
