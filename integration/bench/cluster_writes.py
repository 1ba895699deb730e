"""Three durable servers on this machine, against three of Debian's etcd-server through its HTTP gateway, in turns.

The same 200-byte values, keep-alive connections and load; each system's leader is asked. Who begins alternates, and ratios
are medians over the rounds; the CPU that a write costs, of all processes of its system, is told too, since that is what a
busy machine does not change. Once with what both do by default, plain between the servers; once with chowk's `encrypt`,
mutual TLS, against the same plain etcd. Then: catalog registrations, a registration seen in another agent's DNS, how long
an event loop was blocked in all this, and the time from kill -9 of the leader to the next acknowledged write.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.agent import AgentProcess
from harness.cluster import Cluster
from harness.load import Figures, http_request, run_load
from harness.waiting import eventually

ROUNDS = 6
SECONDS = 4.0
BLOCKED_MS_MAX = 50
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
KEYS = 2000
KILLS = 10
SEEN = 20
VALUE = os.urandom(150).hex()[:200].encode()


class Etcd:
    """Three of Debian's etcd-server with their own defaults."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._hosts = [f"127.77.0.{number}" for number in (1, 2, 3)]

    def start(self) -> Etcd:
        """Start them and wait for a leader."""
        cluster = ",".join(f"n{number}=http://{host}:2380" for number, host in enumerate(self._hosts))
        for number, host in enumerate(self._hosts):
            client, peer = f"http://{host}:2379", f"http://{host}:2380"
            words = ["etcd", "--name", f"n{number}", "--data-dir", str(self._folder / f"n{number}")]
            words += ["--listen-client-urls", client, "--advertise-client-urls", client, "--log-level", "error"]
            words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            words += ["--initial-cluster", cluster, "--logger", "zap"]
            quiet = subprocess.DEVNULL
            self._processes.append(subprocess.Popen(words, stdout=quiet, stderr=quiet))
        eventually(self.leader, "an etcd leader", 30)
        return self

    def leader(self) -> tuple[str, int]:
        """Where the leader takes requests."""
        for host in self._hosts:
            url = f"http://{host}:2379/v3/maintenance/status"
            with urllib.request.urlopen(urllib.request.Request(url, b"{}"), timeout=2) as reply:
                status = json.load(reply)
            if status["leader"] == status["header"]["member_id"]:
                return host, 2379
        raise RuntimeError("nobody leads")

    def pids(self) -> list[int]:
        """All its processes."""
        return [process.pid for process in self._processes]

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
            process.wait()


def etcd_puts() -> list[bytes]:
    """PUTs through the gateway, which takes JSON with base64."""
    value = base64.b64encode(VALUE).decode()
    keys = (base64.b64encode(f"bench/{number}".encode()).decode() for number in range(KEYS))
    return [http_request("POST", "/v3/kv/put", json.dumps({"key": key, "value": value}).encode()) for key in keys]


def chowk_puts() -> list[bytes]:
    """The same PUTs."""
    return [http_request("PUT", f"/v1/kv/bench/{number}", VALUE) for number in range(KEYS)]


def registrations() -> list[bytes]:
    """Catalog registrations, each of another address so that each is a write."""
    return [
        http_request("PUT", "/v1/catalog/register", json.dumps(
            {"Node": f"n{number % 200}", "Address": "10.0.0.1", "SkipNodeUpdate": True,
             "Service": {"ID": f"s{number}", "Service": f"svc{number % 50}", "Port": 1000 + number % 60000}}
        ).encode())
        for number in range(60_000)
    ]  # fmt: skip


def target(agent: AgentProcess) -> tuple[str, int]:
    return agent.address, agent.http_port


def cpu_s(pids: list[int]) -> float:
    """Seconds that the processes have computed, in the kernel too."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(row[11]) + int(row[12]) for row in fields) / TICKS_A_SECOND


class Run:
    """One system, one load: what the client saw, and microseconds of CPU a write."""

    def __init__(self, where: tuple[str, int], requests: list[bytes], pids: list[int], connections: int) -> None:
        seconds = SECONDS if connections > 1 else SECONDS / 2
        before = cpu_s(pids)
        self.figures: Figures = run_load([where], requests, connections, seconds)
        self.cpu_us = (cpu_s(pids) - before) / (self.figures.per_second * seconds) * 1e6

    def row(self) -> tuple[float, ...]:
        figures = self.figures
        return figures.per_second, figures.p50_ms, figures.p99_ms, self.cpu_us


def writes(cluster: Cluster, etcd: Etcd | None, name: str) -> None:
    """Throughput, latency and CPU of PUTs at 32 connections and one at a time."""
    runs: dict[tuple[str, int], list[Run]] = {}
    pids = [pid for agent in cluster.running for pid in agent.descendants()]
    for turn in range(ROUNDS):
        systems = [name, "etcd"] if etcd is not None else [name]
        for system in systems if turn % 2 else reversed(systems):
            for connections in (32, 1):
                if system == "etcd" and etcd is not None:
                    run = Run(etcd.leader(), etcd_puts(), etcd.pids(), connections)
                else:
                    run = Run(target(cluster.leader()), chowk_puts(), pids, connections)
                runs.setdefault((system, connections), []).append(run)
    print(f"{'PUT of 200 bytes':<32}{'per second':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}{'errors':>8}")
    for (system, connections), some in runs.items():
        speed, p50, p99, cpu = (statistics.median(column) for column in zip(*(run.row() for run in some), strict=True))
        errors = sum(run.figures.errors for run in some)
        label = f"{system}, {connections} connection" + ("s" if connections > 1 else "")
        print(f"{label:<32}{speed:>12.0f}{p50:>9.2f}{p99:>9.2f}{cpu:>9.0f}{errors:>8}")
    for connections in (32, 1) if etcd is not None else ():
        pairs = [
            (ours.row(), theirs.row())
            for ours, theirs in zip(runs[name, connections], runs["etcd", connections], strict=True)
        ]
        speed, p50, _, cpu = (statistics.median(ours[at] / theirs[at] for ours, theirs in pairs) for at in range(4))
        print(
            f"{name} to etcd, {connections}: throughput {speed:.2f}x (bar ≥ 1.0), p50 {p50:.2f}x (bar ≤ 1.0), CPU {cpu:.2f}x"
        )


def blocked(cluster: Cluster) -> None:
    """The longest block of any event loop since the cluster began."""
    longest = {}
    for agent in cluster.running:
        gauges = {row["Name"]: row["Value"] for row in agent.get("/v1/agent/metrics")["Gauges"]}
        for process in ("agent", "server"):
            value = gauges.get(f"chowk_{process}_loop_blocked_max_seconds", 0.0) * 1000
            longest[process] = max(value, longest.get(process, 0.0))
    print(
        f"longest block of an event loop: agents {longest['agent']:.0f} ms, servers {longest['server']:.0f} ms "
        f"(bar {BLOCKED_MS_MAX})"
    )


def catalog(cluster: Cluster) -> None:
    """Registrations a second at the leader."""
    requests = registrations()
    runs = [run_load([target(cluster.leader())], requests[turn * 15_000 :], 32, SECONDS) for turn in range(3)]
    speed = statistics.median(run.per_second for run in runs)
    delay = statistics.median(run.p50_ms for run in runs)
    print(f"catalog register: {speed:.0f}/s (bar 2000), p50 {delay:.1f} ms, errors {sum(run.errors for run in runs)}")


def seen_elsewhere(cluster: Cluster) -> None:
    """Registration with one agent until another agent's DNS answers it."""
    one, other = cluster["client1"], cluster["server2"]
    import socket

    delays = []
    for number in range(SEEN):
        name = f"seen{number}"
        query = _question(f"{name}.service.consul")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.connect((other.address, other.dns_port))
            asker.settimeout(2)
            asker.send(query)
            asker.recv(1500)
            one.put("/v1/agent/service/register", {"Name": name, "Port": 80})
            began = time.perf_counter()
            while True:
                asker.send(query)
                if int.from_bytes(asker.recv(1500)[6:8], "big"):
                    break
                time.sleep(0.0005)
            delays.append((time.perf_counter() - began) * 1000)
    print(
        f"registered here -> in another agent's DNS: p50 {statistics.median(delays):.1f} ms (bar 20), max {max(delays):.1f}"
    )


def _question(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\0\1\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def failover(cluster: Cluster) -> None:
    """kill -9 of the leader's host until a write through another agent is acknowledged."""
    delays = []
    for _ in range(KILLS):
        leader = cluster.leader()
        other = next(agent for agent in cluster.servers if agent is not leader)
        cluster.kill(leader)
        began = time.perf_counter()
        while other.request("PUT", "/v1/kv/failover", "x", timeout_s=20)[0] != 200:
            time.sleep(0.01)
        delays.append(time.perf_counter() - began)
        leader.start(wait=False)
        cluster.wait_ready(60)
        time.sleep(1)
    print(
        f"kill -9 of the leader -> next write: p50 {statistics.median(delays):.2f} s (bar 1.5), max {max(delays):.2f} s"
    )


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        etcd = Etcd(folder / "etcd").start() if shutil.which("etcd") else None
        if etcd is None:
            print("etcd-server is not installed (apt-get install etcd-server): chowk alone")
        hcl = "limits { http_max_conns_per_client = 0 }"
        try:
            with Cluster(folder / "plain", 3, 0, hcl, encrypted=False) as cluster:
                writes(cluster, etcd, "chowk")
                blocked(cluster)
            with Cluster(folder / "encrypted", 3, 1, hcl, encrypted=True) as cluster:
                writes(cluster, etcd, "chowk with TLS")
                catalog(cluster)
                seen_elsewhere(cluster)
                blocked(cluster)
                failover(cluster)
        finally:
            if etcd is not None:
                etcd.stop()


if __name__ == "__main__":
    main()
