"""A sidecar pair against a direct connection: latency, throughput, new connections, start-up time, memory.

Application, launcher, both proxies and the load are processes of their own; the agent is played by the bench's own process.
Direct and pair are measured in turns; figures are medians of RUNS.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvloop
from aiohttp import web

from chowk.connect.proxy.launcher_client import LauncherClient
from chowk.core.errors import ChowkError
from harness.ports import free_port
from support.mesh_rig import FakeAgent, MeshCA, client_snapshot, server_snapshot, start_launcher

RUNS = 5
CALLS = 3000
CONNECTIONS = 32
SECONDS = 1.5
NEW_CONNECTIONS = 150
BULK_BYTES = 128 * 1024 * 1024
REQUEST = b"GET / HTTP/1.1\r\nHost: api\r\n\r\n"
BULK = b"GET /bulk HTTP/1.1\r\nHost: api\r\n\r\n"
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class App(asyncio.Protocol):
    """Answers each request with a tiny reply, or with BULK_BYTES."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.can_write = asyncio.Event()
        self.can_write.set()

    def pause_writing(self) -> None:
        self.can_write.clear()

    def resume_writing(self) -> None:
        self.can_write.set()

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /bulk "):
            self.task = asyncio.get_running_loop().create_task(self.bulk())
        else:
            self.transport.write(REPLY * data.count(b"\r\n\r\n"))

    async def bulk(self) -> None:
        block = bytes(256 * 1024)
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BULK_BYTES)
        for _ in range(BULK_BYTES // len(block)):
            await self.can_write.wait()
            self.transport.write(block)
            await asyncio.sleep(0)


async def serve(port: int) -> None:
    """The application's process: a bare protocol on `port`, the least an application can cost, and aiohttp on the next."""
    framework = web.Application()
    framework.router.add_get("/", answer)
    runner = web.AppRunner(framework, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port + 1).start()
    server = await asyncio.get_running_loop().create_server(App, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


async def answer(_request: web.Request) -> web.Response:
    """The reply of an application that is written with a framework."""
    return web.Response(text="ok")


def exchange(sock: socket.socket) -> None:
    """One request and its reply."""
    sock.sendall(REQUEST)
    data = b""
    while not data.endswith(b"ok"):
        data = sock.recv(4096)
        if not data:
            raise OSError("connection ended")


def p50_us(port: int) -> float:
    """Median microseconds of a call on one keep-alive connection."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        for _ in range(200):
            exchange(sock)
        times = []
        for _ in range(CALLS):
            started = time.perf_counter()
            exchange(sock)
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def bulk_mb_s(port: int) -> float:
    """Megabytes a second of one large reply."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(BULK)
        buffer = bytearray(256 * 1024)
        got, started = 0, time.perf_counter()
        while got < BULK_BYTES:
            count = sock.recv_into(buffer)
            if not count:
                raise OSError("connection ended")
            got += count
        return got / 1e6 / (time.perf_counter() - started)


def new_per_s(port: int) -> float:
    """Connections a second, each with one call, one after the other."""
    started = time.perf_counter()
    for _ in range(NEW_CONNECTIONS):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            exchange(sock)
    return NEW_CONNECTIONS / (time.perf_counter() - started)


class Caller(asyncio.Protocol):
    """Calls again as soon as it was answered."""

    calls = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        Caller.calls += 1
        self.transport.write(REQUEST)


async def rate(port: int) -> float:
    """Calls a second over CONNECTIONS keep-alive connections."""
    loop = asyncio.get_running_loop()
    ends = [(await loop.create_connection(Caller, "127.0.0.1", port))[0] for _ in range(CONNECTIONS)]
    await asyncio.sleep(0.3)
    Caller.calls, started = 0, time.perf_counter()
    await asyncio.sleep(SECONDS)
    result = Caller.calls / (time.perf_counter() - started)
    for end in ends:
        end.abort()
    return result


def private_mb(pid: int) -> float:
    """Megabytes that only this process uses."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith("Private_")) / 1024


async def accepts(port: int) -> None:
    """Return as soon as something listens."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.001)
            continue
        writer.close()
        return


async def connect(folder: Path) -> LauncherClient:
    """A client of the launcher, once it listens."""
    while True:
        try:
            return await LauncherClient.connect(folder / "launcher.sock")
        except ChowkError:
            await asyncio.sleep(0.01)


async def measure(folder: Path, app_port: int) -> dict[str, list[float]]:
    """Everything, in turns."""
    ca = MeshCA()
    agent = FakeAgent(folder / "proxies.sock", ca)
    await agent.start()
    launcher = start_launcher(folder, exit_with_parent=True, log_level="error")
    client = await connect(folder)
    await accepts(app_port)
    loop = asyncio.get_running_loop()
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for run in range(RUNS):
        public, upstream = free_port(), free_port()
        agent.publish(server_snapshot(ca, f"api{run}", public, app_port))
        agent.publish(client_snapshot(ca, f"web{run}", f"api{run}", upstream, [public]))
        started = time.perf_counter()
        server_pid = await client.launch(f"api{run}-proxy")
        await accepts(public)
        note("start_ms", (time.perf_counter() - started) * 1000)
        client_pid = await client.launch(f"web{run}-proxy")
        await accepts(upstream)
        note("idle_mb", private_mb(server_pid))
        for name, port in (("direct", app_port), ("pair", upstream)):
            note(f"p50 {name}", await loop.run_in_executor(None, p50_us, port))
            note(f"rate {name}", await loop.run_in_executor(None, lambda port=port: uvloop.run(rate(port))))
            note(f"new {name}", await loop.run_in_executor(None, new_per_s, port))
            note(f"bulk {name}", await loop.run_in_executor(None, bulk_mb_s, port))
        public, framework = free_port(), free_port()
        agent.publish(server_snapshot(ca, f"api{run}", public, app_port + 1))
        agent.publish(client_snapshot(ca, f"web{run}", f"api{run}", framework, [public]))
        await accepts(public)
        await accepts(framework)
        for name, port in (("direct", app_port + 1), ("pair", framework)):
            note(f"aiohttp {name}", await loop.run_in_executor(None, p50_us, port))
        note("used_mb", max(private_mb(server_pid), private_mb(client_pid)))
        await client.stop(f"api{run}-proxy")
        await client.stop(f"web{run}-proxy")
    await client.shutdown()
    launcher.wait()
    await agent.close()
    return found


def main() -> None:
    """Print the table."""
    port = free_port()
    app = subprocess.Popen([sys.executable, __file__, "app", str(port)])
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = uvloop.run(measure(Path(folder), port))
    finally:
        app.kill()
        app.wait()
    median = {name: statistics.median(values) for name, values in found.items()}
    print(f"{'what (medians of ' + str(RUNS) + ')':<50}{'direct':>10}{'pair':>10}  bar")
    for name, what, bar in (("aiohttp", "an aiohttp application", "≤ 2 ×, "), ("p50", "a bare protocol", "")):
        direct, pair = median[f"{name} direct"], median[f"{name} pair"]
        print(f"{'p50 of 1 connection, µs: ' + what:<50}{direct:>10.0f}{pair:>10.0f}  {bar}is {pair / direct:.2f} ×")
    for name, what in (("rate", f"calls/s, {CONNECTIONS} connections"), ("new", "new connections/s, in sequence")):
        print(f"{what:<50}{median[name + ' direct']:>10.0f}{median[name + ' pair']:>10.0f}")
    print(f"{'one large reply, MB/s':<50}{median['bulk direct']:>10.0f}{median['bulk pair']:>10.0f}")
    print(f"{'launch → listening, ms':<50}{'':>10}{median['start_ms']:>10.1f}  ≤ 50 ms")
    print(f"{'private memory of a proxy, idle, MB':<50}{'':>10}{median['idle_mb']:>10.1f}  ≤ 10 MB")
    print(f"{'  after the load, MB':<50}{'':>10}{median['used_mb']:>10.1f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["app"]:
        uvloop.run(serve(int(sys.argv[2])))
    else:
        main()
