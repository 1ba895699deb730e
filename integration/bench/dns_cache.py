"""How much the DNS wire cache brings: queries a second with it and without, from a stand-alone server over a made-up
registry of 10 instances. Prints the ratio; the absolute figures only say something about this machine.

    python integration/bench/dns_cache.py [--runs 5] [--seconds 2] [--json]

The server is a process of its own on uvloop; the client keeps a window of queries in flight on a few sockets. Server
time is what is compared, as the server's own CPU time per query, since on a small machine client and server share cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import select
import socket
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import dnslib
import uvloop

from chowk.core.runtime.clock import SystemClock
from chowk.dns.server import DnsServer
from chowk.dns.settings import DnsSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from support.dns_lookup import FakeLookup, instance

INSTANCES = 10
WINDOW = 64
SOCKETS = 4
BATCH = 16


def serve(pipe: Connection, wire_cache: bool) -> None:
    """The server process: sends its port, then its CPU seconds and query count whenever asked, until told to stop."""
    lookup = FakeLookup()
    lookup.services["web"] = tuple(instance("web", number) for number in range(INSTANCES))

    async def body() -> None:
        settings = DnsSettings(wire_cache=wire_cache)
        server = DnsServer(lookup, settings, "bench", "dc1", SystemClock(), random.Random(1))
        await server.start(("127.0.0.1",), 0)
        pipe.send(server.port)
        stop = asyncio.Event()

        def command() -> None:
            if pipe.recv() == "stop":
                stop.set()
            else:
                pipe.send((time.process_time(), server.stats().queries))

        asyncio.get_running_loop().add_reader(pipe.fileno(), command)
        await stop.wait()
        await server.close()

    uvloop.run(body())


def query(kind: str) -> bytes:
    """A question with EDNS, as resolvers send it."""
    record = dnslib.DNSRecord.question("web.service.consul", kind)
    record.add_ar(dnslib.EDNS0(udp_len=1232))
    return bytes(record.pack())


def load(port: int, packet: bytes, seconds: float) -> float:
    """Keep WINDOW queries in flight for `seconds`; replies a second."""
    poll = select.epoll()
    sockets = {}
    for _ in range(SOCKETS):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(("127.0.0.1", port))
        sock.setblocking(False)
        sockets[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
        for _ in range(WINDOW // SOCKETS):
            sock.send(packet)
    start, count = time.perf_counter(), 0
    while (now := time.perf_counter()) < start + seconds:
        for fileno, _ in poll.poll(0.5):
            sock = sockets[fileno]
            for _ in range(BATCH):
                try:
                    sock.recv(4096)
                except BlockingIOError:
                    break
                count += 1
                sock.send(packet)
    poll.close()
    for sock in sockets.values():
        sock.close()
    return count / (now - start)


def measure(kind: str, wire_cache: bool, seconds: float) -> tuple[float, float]:
    """(replies a second, replies a second of the server's CPU time) of one run."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs, wire_cache), daemon=True)
    process.start()
    try:
        port = ours.recv()
        load(port, query(kind), 0.2)
        ours.send("stats")
        cpu_before, count_before = ours.recv()
        rate = load(port, query(kind), seconds)
        ours.send("stats")
        cpu, count = ours.recv()
        ours.send("stop")
        process.join(5)
    finally:
        process.kill()
    return rate, (count - count_before) / (cpu - cpu_before)


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    rows = {}
    for kind in ("A", "SRV"):
        cached, uncached = [], []
        for _ in range(options.runs):  # in turn, so that what else the machine does hits both
            cached.append(measure(kind, True, options.seconds))
            uncached.append(measure(kind, False, options.seconds))
        rows[kind] = {
            "cached_qps": statistics.median(rate for rate, _ in cached),
            "uncached_qps": statistics.median(rate for rate, _ in uncached),
            "ratio": statistics.median(c[0] / u[0] for c, u in zip(cached, uncached, strict=True)),
            "cpu_ratio": statistics.median(c[1] / u[1] for c, u in zip(cached, uncached, strict=True)),
        }
    if options.json:
        print(json.dumps(rows))
        return
    print(
        f"DNS, {INSTANCES} instances, UDP, {WINDOW} in flight, medians of {options.runs} runs, {os.cpu_count()} cores"
    )
    print(f"{'type':<6}{'cached/s':>12}{'uncached/s':>12}{'ratio':>9}{'per CPU second':>17}")
    for kind, row in rows.items():
        print(
            f"{kind:<6}{row['cached_qps']:>12,.0f}{row['uncached_qps']:>12,.0f}"
            f"{row['ratio']:>8.1f}x{row['cpu_ratio']:>16.1f}x"
        )


if __name__ == "__main__":
    main()
