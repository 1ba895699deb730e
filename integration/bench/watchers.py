"""10,000 blocking watchers of one server, through its agent's HTTP API: what they weigh, and how soon all hear of a change.

Half of the figures are of one key, half of one service's health. The watchers are in a process of their own; memory is the
proportional set size of agent and server together. The event loops' longest blocks are those of the whole turn.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.agent import AgentProcess
from harness.waiting import eventually

WATCHERS = int(os.environ.get("WATCHERS", "10000"))
CHANGES = 5
FILES = 65_536
MEMORY_BAR_MB = 300
DELIVERY_BAR_S = 2.0
PATHS = {"key": "/v1/kv/watched", "service's health": "/v1/health/service/watched"}


class _Watcher(asyncio.Protocol):
    """One keep-alive connection that asks again with the index of each answer."""

    def __init__(self, path: str, heard: Any) -> None:
        self._path = path
        self._heard = heard
        self._buffer = b""
        self._index = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def _ask(self) -> None:
        options = f"?index={self._index}&wait=600s" if self._index else ""
        self._transport.write(f"GET {self._path}{options} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if b": " in line)
        if not separator or len(body) < int(fields[b"content-length"]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            print(head.decode(), body.decode(), file=sys.stderr, flush=True)
            os._exit(1)
        self._buffer = b""
        index = int(fields[b"x-consul-index"])
        if index != self._index:
            self._heard(self._index, index)
            self._index = index
        self._ask()


async def _watch(host: str, port: int, path: str, count: int) -> None:
    """A line of JSON whenever the last watcher has left an index behind: when all wait, and when all heard of a
    change. One change may be several indexes, of which not every watcher sees each."""
    loop = asyncio.get_running_loop()
    known = {0: count}

    def hear(old: int, new: int) -> None:
        known[new] = known.get(new, 0) + 1
        known[old] -= 1
        if not known[old]:
            del known[old]
            if old < min(known):
                print(json.dumps({"index": min(known), "at": time.monotonic()}), flush=True)

    for first in range(0, count, 200):
        batch = range(first, min(count, first + 200))
        await asyncio.gather(*(loop.create_connection(lambda: _Watcher(path, hear), host, port) for _ in batch))
    await loop.run_in_executor(None, sys.stdin.read)


def memory_mb(agent: AgentProcess) -> dict[str, float]:
    """Proportional set size of each process of the agent, by what it is."""
    sizes = {"agent": 0.0, "server": 0.0}
    for pid in agent.descendants():
        kind = "server" if b"chowk.server" in Path(f"/proc/{pid}/cmdline").read_bytes() else "agent"
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        sizes[kind] += int(rollup.partition("\nPss:")[2].split()[0]) / 1024
    return sizes


def computed_s(agent: AgentProcess) -> float:
    """CPU seconds that its processes have used."""
    ticks = os.sysconf("SC_CLK_TCK")
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in agent.descendants()]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / ticks


def change(agent: AgentProcess, kind: str, number: int) -> None:
    if kind == "key":
        agent.put(PATHS[kind], number)
    else:
        agent.put("/v1/agent/service/register", {"Name": "watched", "Port": 1000 + number})


def loop_blocks(agent: AgentProcess) -> str:
    """The longest blocks of both loops, in milliseconds."""
    gauges = {row["Name"]: row["Value"] for row in agent.get("/v1/agent/metrics")["Gauges"]}
    return ", ".join(
        f"{process} {gauges[f'chowk_{process}_loop_blocked_max_seconds'] * 1000:.0f}"
        f" (stalled {gauges[f'chowk_{process}_loop_stalled_max_seconds'] * 1000:.0f})"
        for process in ("agent", "server")
    )


def turn(folder: Path, kind: str) -> None:
    """One agent with a server, the watchers, some changes."""
    hcl = 'limits { http_max_conns_per_client = 0 }\nlog_level = "warn"'
    with AgentProcess(folder, hcl, dev=False) as agent:
        change(agent, kind, 0)
        eventually(lambda: agent.get(PATHS[kind]), "the first value")
        before = memory_mb(agent)
        arguments = [sys.executable, __file__, agent.address, str(agent.http_port), PATHS[kind], str(WATCHERS)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watchers:
            print(watchers.stdout.readline() and f"{WATCHERS} watchers of one {kind}:")
            time.sleep(3)
            during = memory_mb(agent)
            delays, costs = [], []
            for number in range(1, CHANGES + 1):
                began, cpu = time.monotonic(), computed_s(agent)
                change(agent, kind, number)
                at = 0.0
                while at < began:  # What an earlier change had left to say.
                    at = json.loads(watchers.stdout.readline())["at"]
                delays.append(at - began)
                time.sleep(2)
                costs.append((computed_s(agent) - cpu) / WATCHERS * 1e6)
            after = memory_mb(agent)
            grown = {when: sum(sizes.values()) - sum(before.values()) for when, sizes in
                     (("waiting", during), ("after the changes", after))}  # fmt: skip
            each = {process: during[process] - before[process] for process in before}
            print(f"  memory: {sum(before.values()):.0f} MB before; waiting +{grown['waiting']:.0f} MB "
                  f"(agent {each['agent']:.0f}, server {each['server']:.0f}), after {CHANGES} changes "
                  f"+{grown['after the changes']:.0f} MB (bar {MEMORY_BAR_MB})")  # fmt: skip
            print(f"  a change heard by all: median {statistics.median(delays):.2f} s, max {max(delays):.2f} s "
                  f"(bar {DELIVERY_BAR_S:.0f}); CPU {statistics.median(costs):.0f} us a watcher and change")  # fmt: skip
            print(f"  loops blocked at most, ms (bar 50): {loop_blocks(agent)}", flush=True)
            watchers.stdin.close()
            watchers.kill()


def main() -> None:
    """Print the figures of both kinds."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    except ValueError:
        print(
            f"fewer than {FILES} files may be opened: the agent takes three connections for four files that it may open"
        )
    for kind in PATHS:
        with tempfile.TemporaryDirectory() as name:
            turn(Path(name), kind)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        import uvloop

        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
        except ValueError:
            pass
        uvloop.run(_watch(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
    else:
        main()
