"""Many sidecars on one agent: memory of each, and how soon a change is in all of them. Medians of the rounds.

`--sidecars` and `--rounds` say how many. A moment is seen by asking every sidecar each POLL_S, so figures are up to that
much too long, never too short; asking takes its share of this machine, as traffic would.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.app import HttpApp
from harness.mesh import fetch
from harness.sidecars import POLL_S, ManySidecars, seen
from harness.waiting import eventually

WAIT_S = 60.0


def processor_s(pid: int) -> float:
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def part(sorted_values: Sequence[float], share: float) -> float:
    """The value below which so many are."""
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)]


async def hold(port: int) -> asyncio.StreamReader:
    """A request that the application has begun to answer, and does not end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /hold HTTP/1.1\r\nHost: api\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(1)
    return reader


async def cut(reader: asyncio.StreamReader) -> float:
    """When the mesh has cut it."""
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass
    return time.monotonic()


async def denied(many: ManySidecars) -> list[float]:
    """Deny everybody while each sidecar carries an open request: how long each lived on, from the writing's begin."""
    async with asyncio.timeout(WAIT_S):
        held = await asyncio.gather(*(hold(port) for port in many.upstreams))
        ends = [asyncio.create_task(cut(reader)) for reader in held]
        path = "/v1/connect/intentions/exact?source=*&destination=api"
        began = time.monotonic()
        await asyncio.to_thread(many.agent.put, path, {"Action": "deny"})
        moments = await asyncio.gather(*ends)
    await asyncio.to_thread(many.agent.request, "DELETE", path)
    return sorted(each - began for each in moments)


def measure(folder: Path, count: int, rounds: int) -> None:
    """Start, measure, print."""
    with HttpApp("api") as api:
        many = ManySidecars(folder, count, api.port)
        started = time.monotonic()
        with many.agent as agent:
            all_up = max(asyncio.run(seen(many.upstreams, "first", WAIT_S))) - started
            for port in many.upstreams:
                eventually(lambda: fetch(port) == "api", "it flows", WAIT_S)  # noqa: B023
            memory = sorted(many.proxies().values())
            print(f"{count} sidecars, {rounds} rounds, looked at each {POLL_S:g} s")
            print(f"start of the agent until all of them route        {all_up:8.2f} s")
            middle, most = statistics.median(memory) / 2**20, memory[-1] / 2**20
            print(f"private memory of a sidecar: median, most         {middle:8.1f} {most:.1f} MB   bar 10")
            p50s, p99s, worst, used = [], [], [], []
            for number in range(rounds):
                processor = processor_s(agent.process.pid if agent.process else 0)
                written = time.monotonic()
                many.write_mark(f"m{number}")
                moments = sorted(each - written for each in asyncio.run(seen(many.upstreams, f"m{number}", WAIT_S)))
                used.append(processor_s(agent.process.pid if agent.process else 0) - processor)
                p50s.append(part(moments, 0.5))
                p99s.append(part(moments, 0.99))
                worst.append(moments[-1])
            print(
                f"a change until new routes: p50, p99, last         {statistics.median(p50s) * 1000:8.0f}"
                f" {statistics.median(p99s) * 1000:.0f} {statistics.median(worst) * 1000:.0f} ms   bar 500"
            )
            print(f"the agent's processor for it                      {statistics.median(used) * 1000:8.0f} ms")
            backs = []
            for number in range(rounds):
                many.kill_proxy(f"svc-{number:03}")
                killed = time.monotonic()
                eventually(lambda: fetch(many.upstreams[number]) == "api", "it is back", WAIT_S)  # noqa: B023
                backs.append(time.monotonic() - killed)
            print(
                f"a killed one carries calls again                  {statistics.median(backs) * 1000:8.0f} ms   bar 1000"
            )
            lives = asyncio.run(denied(many))
            p50, p99 = part(lives, 0.5) * 1000, part(lives, 0.99) * 1000
            print(f"denied until open requests are cut: p50, p99      {p50:8.0f} {p99:.0f} ms   bar 1000")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sidecars", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.sidecars, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
