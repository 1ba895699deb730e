"""DNS under a flood: who is still answered, how soon, and whether the agent's other work goes on.

    python integration/bench/dns_flood.py [--seconds 6] [--workers 0]

First the rate at which the agent answers names that nobody asked for before (those that cost most), then ten times that
rate, sent without waiting for replies. Beside the flood a probe asks for a name in use, another sends an HTTP request, and a
TTL check and an HTTP check of the agent must stay passing. Printed: what the probes waited, and the agent's counters.
"""

from __future__ import annotations

import argparse
import http.server
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing import Event, Process
from multiprocessing.synchronize import Event as EventType
from pathlib import Path

import dnslib

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.agent import AgentProcess
from harness.ports import free_port
from harness.waiting import eventually

FLOOD_FACTOR = 10
PAUSE_S = 0.01
LOST_S = 1.0
DNS_BAR_S, HTTP_BAR_S, CHECKS_BAR = 0.010, 0.250, 0.7
CALM_S = 3.0
STEP_S = 0.002


def random_names(count: int) -> list[bytes]:
    """Queries of names that do not exist, `count` of them, all different."""
    return [
        bytes(dnslib.DNSRecord.question(f"x{os.urandom(6).hex()}.service.consul", "A").pack()) for _ in range(count)
    ]


def closed_rate(port: int, packets: list[bytes]) -> float:
    """Answers a second to packets sent 20 at a time."""
    start, answered = time.perf_counter(), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(LOST_S)
        for first in range(0, len(packets), 20):
            for packet in packets[first : first + 20]:
                sock.send(packet)
            for _ in packets[first : first + 20]:
                sock.recv(4096)
                answered += 1
    return answered / (time.perf_counter() - start)


def flood(port: int, rate: float, packets: list[bytes], stop: EventType) -> None:
    """Send at `rate`, reading no reply, each time from another id so that none is known."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.setblocking(False)
        start, sent = time.perf_counter(), 0
        while not stop.is_set():
            due = int((time.perf_counter() - start) * rate)
            if sent >= due:
                time.sleep(STEP_S)
            while sent < due:
                packet = bytearray(packets[sent % len(packets)])
                packet[14:20] = b"%06x" % (sent & 0xFFFFFF)
                sent += 1
                try:
                    sock.send(packet)
                except OSError:
                    pass


def dns_probe(port: int) -> Callable[[], float]:
    """A function that asks for the service in use and says how long it waited."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port))
    sock.settimeout(LOST_S)
    query = bytes(dnslib.DNSRecord.question("web.service.consul", "A").pack())

    def ask() -> float:
        number = os.urandom(2)
        start = time.perf_counter()
        sock.send(number + query[2:])
        try:
            while sock.recv(4096)[:2] != number:
                pass
        except TimeoutError:
            return LOST_S
        return time.perf_counter() - start

    return ask


def timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return run


def sample(probes: dict[str, Callable[[], float]], seconds: float) -> dict[str, list[float]]:
    """What each probe waited, over and over for `seconds`."""
    waits: dict[str, list[float]] = {name: [] for name in probes}
    end = time.perf_counter() + seconds

    def run(name: str) -> None:
        while time.perf_counter() < end:
            waits[name].append(probes[name]())
            time.sleep(PAUSE_S)

    threads = [threading.Thread(target=run, args=(name,)) for name in probes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits


def quantile(waits: list[float], hundredths: int) -> float:
    """The value that so many in a hundred stay below; infinite without two values."""
    return statistics.quantiles(waits, n=100)[hundredths - 1] if len(waits) > 1 else float("inf")


def counters(agent: AgentProcess) -> dict[str, float]:
    text = agent.request("GET", "/v1/agent/metrics?format=prometheus")[2].decode()
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("chowk_dns_")]
    return {name: float(value) for name, value in rows}


class _Healthy(http.server.BaseHTTPRequestHandler):
    """Answers the agent's health check, and counts how often it came."""

    seen = 0

    def do_GET(self) -> None:
        _Healthy.seen += 1
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def measure(agent: AgentProcess, seconds: float) -> bool:
    """Run and print; False when a bar is missed."""
    rate = closed_rate(agent.dns_port, random_names(3000))
    offered = rate * FLOOD_FACTOR
    print(f"names nobody asked before: {rate:,.0f}/s answered; flood: {offered:,.0f}/s asked for {seconds:g} s\n")
    probes = {
        "dns": dns_probe(agent.dns_port),
        "http": timed(lambda: agent.get("/v1/health/service/web?passing")),
        "ttl": timed(lambda: agent.put("/v1/agent/check/pass/beat")),
    }
    checked = _Healthy.seen
    calm = sample(probes, CALM_S)
    calm_checks = (_Healthy.seen - checked) / CALM_S
    before, checked, stop = counters(agent), _Healthy.seen, Event()
    flooder = Process(target=flood, args=(agent.dns_port, offered, random_names(4096), stop), daemon=True)
    flooder.start()
    waits = sample(probes, seconds)
    checks = (_Healthy.seen - checked) / seconds
    passing = len(agent.passing("web"))
    stop.set()
    flooder.join()
    after = counters(agent)
    print(f"{'ms':<6}{'calm p50':>11}{'calm p99':>11}{'flooded p50':>14}{'flooded p99':>14}{'lost':>7}")
    for name, each in waits.items():
        answered = [wait for wait in each if wait < LOST_S]
        figures = [quantile(found, share) * 1000 for found in (calm[name], answered) for share in (50, 99)]
        print(f"{name:<6}{figures[0]:>11.2f}{figures[1]:>11.2f}{figures[2]:>14.2f}{figures[3]:>14.2f}", end="")
        print(f"{len(each) - len(answered):>7} of {len(each)}")
    print(f"\nhealth checks a second: calm {calm_checks:.1f}, flooded {checks:.1f}; passing instances: {passing} of 1")
    for name, value in after.items():
        if value - before.get(name, 0):
            print(f"{name:<45}{value - before.get(name, 0):>14,.0f}")
    fast = quantile([wait for wait in waits["dns"] if wait < LOST_S], 99) <= DNS_BAR_S
    served = quantile(waits["http"], 99) <= HTTP_BAR_S
    alive = passing == 1 and checks >= calm_checks * CHECKS_BAR
    for text, met in (
        (f"p99 of answered probes <= {DNS_BAR_S * 1000:g} ms", fast),
        (f"p99 of HTTP <= {HTTP_BAR_S * 1000:g} ms", served),
        (f"health checks, of their calm rate >= {CHECKS_BAR}", alive),
    ):
        print(f"{text:<45}{'met' if met else 'MISSED'}")
    return fast and served and alive


def main() -> int:
    """Run and print; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--workers", type=int, default=0, help="DNS workers of the agent")
    options = parser.parse_args()
    backend = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), _Healthy)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    hcl = f"""
    dns_config {{ workers = {options.workers} }}
    services {{ name = "web", port = 80
      check {{ id = "up", http = "http://127.0.0.1:{backend.server_port}/", interval = "200ms", timeout = "2s" }} }}
    checks {{ id = "beat", name = "beat", ttl = "2s", status = "passing" }}
    """
    with tempfile.TemporaryDirectory() as folder, AgentProcess(Path(folder), hcl) as agent:
        eventually(lambda: len(agent.passing("web")) == 1, "the service passes", 20)
        eventually(lambda: counters(agent).get("chowk_dns_workers", 0) == options.workers, "the workers answer", 20)
        met = measure(agent, options.seconds)
    backend.shutdown()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
