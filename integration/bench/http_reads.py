"""Reads of a service over HTTP beside a bare aiohttp handler that returns the same bytes, in turns within one run; what the
watchers of one service cost; and what an agent weighs that holds many instances, and after many registrations.

    python integration/bench/http_reads.py

The load comes from a process of its own over 32 keep-alive connections. On a machine whose cores others use too, the
requests per CPU-second (of all processes that answer) say more than those per second.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.agent import AgentProcess
from harness.waiting import eventually

CONNECTIONS = 32
ROUNDS = 5
SECONDS = 1.5
WATCHERS = int(os.environ.get("WATCHERS", "5000"))
CHANGES = 5
HELD = (5_000, 20_000)
AGAIN = int(os.environ.get("AGAIN", "20000"))
WRITERS = 16
PIECE = 1024 * 1024
TICKS = os.sysconf("SC_CLK_TCK")


# --- the load: a process of its own


def load(host: str, port: int, path: str, seconds: float) -> None:
    """Ask again and again over CONNECTIONS; prints requests, bytes and seconds. Bodies are read into one place, not kept."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    poller, piece = select.epoll(), memoryview(bytearray(PIECE))
    sockets, missing = {}, {}
    for _ in range(CONNECTIONS):
        sock = socket.create_connection((host, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[sock.fileno()], missing[sock.fileno()] = sock, 0
        poller.register(sock.fileno(), select.EPOLLIN)
        sock.send(request)
    began, requests, size = time.perf_counter(), 0, 0
    while time.perf_counter() - began < seconds:
        for number, _event in poller.poll(0.2):
            sock = sockets[number]
            count = sock.recv_into(piece)
            if not count:
                raise SystemExit("the server closed a connection")
            size += count
            if not missing[number]:
                head = bytes(piece[: min(count, 2048)])
                if not head.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(head.decode())
                end = head.index(b"\r\n\r\n") + 4
                at = head.lower().index(b"content-length:") + 15
                missing[number] = end + int(head[at : head.index(b"\r\n", at)])
            missing[number] -= count
            if not missing[number]:
                requests += 1
                sock.send(request)
    print(json.dumps([requests, size, time.perf_counter() - began]))


def run_load(port: int, path: str) -> tuple[int, int, float]:
    arguments = [sys.executable, __file__, "load", "127.0.0.1", str(port), path, str(SECONDS)]
    requests, size, seconds = json.loads(subprocess.run(arguments, capture_output=True, check=True).stdout)
    return requests, size, seconds


# --- the bare handler: a process of its own


def bare(folder: str) -> None:
    """Each file of `folder` under its name, from memory."""
    import uvloop
    from aiohttp import web

    async def serve() -> None:
        app = web.Application()
        for file in Path(folder).iterdir():
            app.router.add_get(f"/{file.name}", _handler(file.read_bytes()))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await runner.cleanup()

    def _handler(body: bytes) -> Any:
        async def handle(_request: web.Request) -> web.Response:
            return web.Response(body=body, content_type="application/json")

        return handle

    uvloop.run(serve())


# --- figures of processes


def computed_s(pids: list[int]) -> float:
    """CPU seconds that they have used."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / TICKS


def memory_kb(agent: AgentProcess) -> dict[str, int]:
    """Proportional set size of the agent and of its server."""
    sizes = {"agent": 0, "server": 0}
    for pid in agent.descendants():
        kind = "server" if b"chowk.server" in Path(f"/proc/{pid}/cmdline").read_bytes() else "agent"
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        sizes[kind] += int(rollup.partition("\nPss:")[2].split()[0])
    return sizes


def register(agent: AgentProcess, service: str, count: int, *, first: int = 0, port: int = 8000) -> None:
    """Instances with a check each, ten to a node, by WRITERS at a time."""

    def write(numbers: range) -> None:
        connection = http.client.HTTPConnection(agent.address, agent.http_port)
        for number in numbers:
            node, name = f"node-{service}-{number // 10:05}", f"{service}-{number:06}"
            body = {
                "Node": node,
                "Address": f"10.{number // 2560 % 256}.{number // 10 % 256}.1",
                "Service": {"ID": name, "Service": service, "Port": port, "Tags": ["v1"], "Meta": {"version": "1.2.3"}},
                "Check": {"CheckID": f"service:{name}", "Name": f"{service} alive", "Status": "passing",
                          "ServiceID": name, "Output": "HTTP GET http://127.0.0.1:8000/health: 200 OK"},
            }  # fmt: skip
            connection.request("PUT", "/v1/catalog/register", json.dumps(body))
            reply = connection.getresponse()
            if reply.read() and reply.status != 200:
                raise SystemExit(f"a registration failed: {reply.status}")

    numbers = range(first, first + count)
    threads = [threading.Thread(target=write, args=(numbers[at::WRITERS],)) for at in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- the figures


def compare(agent: AgentProcess, folder: Path) -> None:
    """Requests and bytes a second, and requests per CPU-second, beside the bare handler."""
    print(f"{CONNECTIONS} connections, medians of {ROUNDS} rounds in turns:")
    print(f"  {'':34}{'requests/s':>12}{'MB/s':>8}{'per CPU-second':>16}")
    bodies = folder / "bodies"
    bodies.mkdir()
    paths = {"ten": "/v1/health/service/ten", "thousand": "/v1/health/service/thousand"}
    for name, path in paths.items():
        (bodies / name).write_bytes(agent.request("GET", path)[2])
    with subprocess.Popen([sys.executable, __file__, "bare", str(bodies)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:  # fmt: skip
        port = int(process.stdout.readline())
        for name, path in paths.items():
            sides = {
                "bare aiohttp": (port, f"/{name}", [process.pid]),
                "chowk": (agent.http_port, path, agent.descendants()),
                "chowk ?stale": (agent.http_port, f"{path}?stale", agent.descendants()),
                "chowk ?passing&tag=v1": (agent.http_port, f"{path}?passing&tag=v1", agent.descendants()),
                "chowk ?cached": (agent.http_port, f"{path}?cached", agent.descendants()),
                "chowk ?filter": (agent.http_port, f"{path}?filter=Service.Port!=1", agent.descendants()),
                "chowk ?near": (agent.http_port, f"{path}?near=_agent", agent.descendants()),
                "chowk ?dc=dc1": (agent.http_port, f"{path}?dc=dc1", agent.descendants()),
                "chowk catalog": (agent.http_port, path.replace("health", "catalog"), agent.descendants()),
            }
            rates: dict[str, list[tuple[float, float, float]]] = {side: [] for side in sides}
            for _ in range(ROUNDS):
                for side, (at, target, pids) in sides.items():
                    before = computed_s(pids)
                    requests, size, seconds = run_load(at, target)
                    used = max(computed_s(pids) - before, 1 / TICKS)
                    rates[side].append((requests / seconds, size / seconds / 1e6, requests / used))
            middle = {side: [statistics.median(column) for column in zip(*rows, strict=True)]
                      for side, rows in rates.items()}  # fmt: skip
            base = middle["bare aiohttp"]
            for side, (rate, mb, cpu) in middle.items():
                print(f"  {name + ' instances, ' + side:34}{rate:>8.0f} {rate / base[0]:>4.2f}x{mb:>6.0f}"
                      f"{cpu:>10.0f} {cpu / base[2]:>4.2f}x", flush=True)  # fmt: skip
        process.stdin.close()


def watch(agent: AgentProcess) -> None:
    """WATCHERS of one service: how soon all hear of a change, and what it costs."""
    arguments = [sys.executable, str(Path(__file__).with_name("watchers.py")), agent.address, str(agent.http_port),
                 "/v1/health/service/ten", str(WATCHERS)]  # fmt: skip
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watchers:
        watchers.stdout.readline()
        time.sleep(2)
        delays, costs = [], []
        for number in range(CHANGES):
            pids = agent.descendants()
            began, cpu, at = time.monotonic(), computed_s(pids), 0.0
            register(agent, "ten", 1, port=9000 + number)
            while at < began:
                at = json.loads(watchers.stdout.readline())["at"]
            delays.append(at - began)
            time.sleep(1)
            costs.append(computed_s(pids) - cpu)
        print(f"{WATCHERS} watchers of a service of 10: all answered after {statistics.median(delays):.2f} s, at most "
              f"{max(delays):.2f} s (bar 1); CPU {statistics.median(costs):.2f} s a change (bar 1)", flush=True)  # fmt: skip
        watchers.stdin.close()
        watchers.kill()


def hold(agent: AgentProcess) -> None:
    """What an instance weighs that a view holds; what is left of many registrations of the same."""
    held = 0
    for count in HELD:
        name = f"held{count}"
        register(agent, name, count)
        time.sleep(1)
        before = memory_kb(agent)
        rows = agent.get(f"/v1/health/service/{name}?cached&filter=Service.Port==1")
        time.sleep(1)
        after = memory_kb(agent)
        grown = (after["agent"] - before["agent"]) * 1024 / count
        print(f"a view of {count} instances: {grown:.0f} bytes of the agent an instance (bar 2048); the server "
              f"holds {after['server'] / 1024:.0f} MB; {len(rows)} matched", flush=True)  # fmt: skip
        held += count
    before = memory_kb(agent)
    part = max(1, AGAIN // 2 // HELD[0])
    sizes = []
    for turn in range(2):
        for number in range(part):
            register(agent, f"held{HELD[0]}", HELD[0], port=8001 + turn * part + number)
        sizes.append(memory_kb(agent))
    grown = [{process: (size[process] - before[process]) / 1024 for process in size} for size in sizes]
    print(f"{2 * part * HELD[0]} registrations of {HELD[0]} instances: agent {grown[0]['agent']:+.0f} MB after the first "
          f"half, {grown[1]['agent']:+.0f} after the second; server {grown[0]['server']:+.0f}, "
          f"{grown[1]['server']:+.0f}", flush=True)  # fmt: skip


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hcl = 'limits { http_max_conns_per_client = 0 }\nlog_level = "warn"'
        with AgentProcess(folder, hcl) as agent:
            register(agent, "ten", 10)
            register(agent, "thousand", 1000)
            eventually(lambda: len(agent.get("/v1/health/service/thousand?cached")) == 1000, "the instances")
            compare(agent, folder)
            watch(agent)
            hold(agent)
            gauges = {row["Name"]: row["Value"] for row in agent.get("/v1/agent/metrics")["Gauges"]}
            blocks = {side: gauges[f"chowk_{side}_loop_blocked_max_seconds"] * 1000 for side in ("agent", "server")}
            print(f"loops blocked at most, ms (bar 50): agent {blocks['agent']:.0f}, server {blocks['server']:.0f}")


if __name__ == "__main__":
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (65_536, 65_536))
    except ValueError:
        pass
    if sys.argv[1:2] == ["load"]:
        load(sys.argv[2], int(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
    elif sys.argv[1:2] == ["bare"]:
        bare(sys.argv[2])
    else:
        main()
