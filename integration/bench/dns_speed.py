"""DNS at saturation: an agent's answers against dnsmasq's, who serves the same names from its configuration.

    python integration/bench/dns_speed.py [--runs 3] [--seconds 3] [--workers 0]

SRV and A of a service of 10 instances, and of one of 5,000, asked by dnsperf with EDNS over UDP. dnsperf and the server
share the machine's cores, so only ratios of one run say something; runs of all subjects take turns. While dnsperf
saturates the server a probe asks at times of its own: the p99 is of what it waited. Without dnsmasq or dnsperf (Debian:
dnsmasq-base, dnsperf) the bench says so, and what needs them is left out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import dnslib

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.agent import AgentProcess
from harness.counters import dns_counters
from harness.ports import free_port
from harness.waiting import eventually

SMALL, LARGE = 10, 5000
OPERATIONS_MAX = 60
PROBE_PAUSE_S = 0.002
DNSMASQ_BAR, LARGE_BAR, P99_BAR_S = 0.7, 0.8, 0.010
KINDS = ("A", "SRV")
OWN, OWN_LARGE, PEER = "chowk, 10", "chowk, 5,000", "dnsmasq, 10"


@dataclass
class Run:
    """One run: replies a second, replies a CPU second of the server's process, seconds at the 99th percentile, lost."""

    rate: float
    per_cpu_s: float
    p99_s: float
    lost: int


class Dnsmasq:
    """dnsmasq with the same names as the agent's small service."""

    def __init__(self) -> None:
        self.port = free_port()
        nodes = [(f"s{number}", f"10.1.0.{number + 1}") for number in range(SMALL)]
        names = [f"--host-record={node}.node.dc1.consul,{address}" for node, address in nodes]
        names += [f"--host-record=small.service.consul,{address}" for _node, address in nodes]
        names += [f"--srv-host=small.service.consul,{node}.node.dc1.consul,8080,1,1" for node, _address in nodes]
        command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-poll"]
        command += [f"--port={self.port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file", *names]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def register(agent: AgentProcess, service: str, prefix: str, network: str, count: int) -> None:
    """`count` instances, each on a node of its own, in few transactions."""
    step = OPERATIONS_MAX // 2
    for start in range(0, count, step):
        operations = []
        for number in range(start, min(start + step, count)):
            address = f"{network}.{number // 250}.{number % 250 + 1}"
            node = {"Node": f"{prefix}{number}", "Address": address}
            instance = {"Service": service, "ID": f"{service}-{number}", "Port": 8080}
            operations.append({"Node": {"Verb": "set", "Node": node}})
            operations.append({"Service": {"Verb": "set", "Node": node["Node"], "Service": instance}})
        agent.put("/v1/txn", operations)


def cpu_s(pid: int) -> float:
    """What it and its DNS workers have used."""
    workers = [each for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if _is_worker(each)]
    stats = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in (pid, *workers)]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


def _is_worker(pid: str) -> bool:
    return b"chowk.agent.workers" in Path(f"/proc/{pid}/cmdline").read_bytes()


def question(name: str, kind: str) -> bytes:
    record = dnslib.DNSRecord.question(name, kind)
    record.add_ar(dnslib.EDNS0(udp_len=1232))
    return bytes(record.pack())


def probe(port: int, packet: bytes, until: threading.Event) -> list[float]:
    """How long single queries wait, one after the other; one that is lost counts a second."""
    waits = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(1.0)
        number = 0
        while not until.wait(PROBE_PAUSE_S):
            number = (number + 1) & 0xFFFF
            start = time.perf_counter()
            sock.send(number.to_bytes(2, "big") + packet[2:])
            try:
                while sock.recv(4096)[:2] != number.to_bytes(2, "big"):
                    pass
            except TimeoutError:
                pass
            waits.append(time.perf_counter() - start)
    return waits


def measure(port: int, pid: int, name: str, kind: str, seconds: float, folder: Path) -> Run:
    """One run of dnsperf with the probe beside it."""
    queries = folder / "queries"
    queries.write_text(f"{name} {kind}\n")
    done, waits = threading.Event(), list[float]()
    prober = threading.Thread(target=lambda: waits.extend(probe(port, question(name, kind), done)))
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(queries), "-e", "-c", "8", "-l", f"{seconds:g}"]
    before = cpu_s(pid)
    prober.start()
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    finally:
        done.set()
        prober.join()
    spent = cpu_s(pid) - before
    completed, lost = (int(_found(rf"Queries {word}:\s+(\d+)", text)) for word in ("completed", "lost"))
    p99_s = statistics.quantiles(waits, n=100)[98]
    return Run(float(_found(r"Queries per second:\s+([\d.]+)", text)), completed / max(spent, 0.01), p99_s, lost)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"dnsperf said:\n{text}")
    return match[1]


def run_all(
    agent: AgentProcess, dnsmasq: Dnsmasq | None, runs: int, seconds: float
) -> dict[tuple[str, str], list[Run]]:
    """The runs by (subject, kind). Those of one kind follow each other, so that what else the machine does hits all."""
    if agent.process is None:
        raise RuntimeError("the agent does not run")
    subjects = [
        (OWN, agent.dns_port, agent.process.pid, "small"),
        (OWN_LARGE, agent.dns_port, agent.process.pid, "large"),
    ]
    if dnsmasq is not None:
        subjects.append((PEER, dnsmasq.port, dnsmasq.process.pid, "small"))
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for _ in range(runs):
        for kind in KINDS:
            for subject, port, pid, service in subjects:
                found[subject, kind].append(
                    measure(port, pid, f"{service}.service.consul", kind, seconds, agent.folder)
                )
    return found


def median(runs: list[Run], name: str) -> float:
    return statistics.median(getattr(run, name) for run in runs)


def ratio(runs: list[Run], others: list[Run], name: str) -> float:
    """The median of the ratios of runs that followed each other."""
    return statistics.median(getattr(a, name) / getattr(b, name) for a, b in zip(runs, others, strict=True))


def report(found: dict[tuple[str, str], list[Run]]) -> bool:
    """Print the table; False when a bar is missed."""
    print(f"{'subject':<14}{'type':<6}{'replies/s':>11}{'per CPU s':>11}{'p99 ms':>9}{'lost':>6}")
    for (subject, kind), runs in found.items():
        rate, per_cpu_s, p99_ms = median(runs, "rate"), median(runs, "per_cpu_s"), median(runs, "p99_s") * 1000
        print(
            f"{subject:<14}{kind:<6}{rate:>11,.0f}{per_cpu_s:>11,.0f}{p99_ms:>9.2f}{sum(run.lost for run in runs):>6}"
        )
    print(f"\n{'':<45}{'value':>8}{'of CPU s':>10}")
    results = []
    for kind in KINDS:
        own, large = found[OWN, kind], found[OWN_LARGE, kind]
        rows = [(f"{kind}: 5,000 instances, of the rate of 10", large, own, LARGE_BAR)]
        if (PEER, kind) in found:
            rows.append((f"{kind}: of dnsmasq's rate", own, found[PEER, kind], DNSMASQ_BAR))
        for text, runs, others, bar in rows:
            value = ratio(runs, others, "rate")
            results.append(value >= bar)
            print(f"{text:<45}{value:>8.2f}{ratio(runs, others, 'per_cpu_s'):>10.2f}  {_word(results)} (bar >= {bar})")
        worst = max(median(own, "p99_s"), median(large, "p99_s"))
        results.append(worst <= P99_BAR_S)
        text = f"{kind}: p99 at saturation, ms"
        print(f"{text:<45}{worst * 1000:>8.2f}{'':>10}  {_word(results)} (bar <= {P99_BAR_S * 1000:g})")
    return all(results)


def _word(results: list[bool]) -> str:
    return "met" if results[-1] else "MISSED"


def main() -> int:
    """Run all and print; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=0, help="DNS workers of the agent")
    options = parser.parse_args()
    if shutil.which("dnsperf") is None:
        print("dnsperf is missing (apt-get install dnsperf): nothing is measured")
        return 0
    hcl = f"dns_config {{ workers = {options.workers} }}"
    with tempfile.TemporaryDirectory() as folder, AgentProcess(Path(folder), hcl) as agent:
        register(agent, "small", "s", "10.1", SMALL)
        register(agent, "large", "l", "10.2", LARGE)
        eventually(lambda: len(agent.passing("large")) == LARGE, "the services are in the catalog", 30)
        eventually(lambda: dns_counters(agent).get("chowk_dns_workers", 0) == options.workers, "the workers answer", 20)
        dnsmasq = Dnsmasq() if shutil.which("dnsmasq") else None
        if dnsmasq is None:
            print("dnsmasq is missing (apt-get install dnsmasq-base): there is nobody to compare with")
        try:
            found = run_all(agent, dnsmasq, options.runs, options.seconds)
        finally:
            if dnsmasq is not None:
                dnsmasq.close()
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{options.runs} runs of {options.seconds:g} s each, medians, {machine}\n")
    return 0 if report(found) else 1


if __name__ == "__main__":
    sys.exit(main())
