"""Many sidecars on one agent: memory of each, and how soon a change is in all of them. Medians of the rounds.

`--sidecars` and `--rounds` say how many. A moment is seen by asking every sidecar each POLL_S, so figures are up to that
much too long, never too short; asking takes its share of this machine, as traffic would.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.app import HttpApp
from harness.sidecars import POLL_S, ManySidecars, seen

WAIT_S = 60.0
IDLE_S = 10.0
CALL_S = 0.4
"""Between two calls to one sidecar of a host that starts: more would take what the sidecars need to start."""
BACK_S = 0.02
QUIET_S = 0.5
Held = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def processor_s(pids: Iterable[int]) -> float:
    """Seconds of processor that all threads of these processes have used: by the scheduler's account, not in its ticks."""
    accounts = (account for pid in pids for account in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(account.read_text().split()[0]) for account in accounts) / 1e9


def part(sorted_values: Sequence[float], share: float) -> float:
    """The value below which so many are."""
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)]


async def hold(port: int) -> Held:
    """A request that the application has begun to answer, and does not end. Whoever loses the writer closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /hold HTTP/1.1\r\nHost: api\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(1)
    return reader, writer


async def cut(held: Held) -> float:
    """When the mesh has cut it."""
    reader, writer = held
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass
    writer.close()
    return time.monotonic()


async def denied(many: ManySidecars) -> list[float]:
    """Deny everybody while each sidecar carries an open request: how long each lived on, from the writing's begin."""
    async with asyncio.timeout(WAIT_S):
        ends = [asyncio.create_task(cut(held)) for held in await asyncio.gather(*map(hold, many.upstreams))]
        await asyncio.sleep(QUIET_S)
        if any(end.done() for end in ends):
            raise AssertionError("a request ended before it was denied")
        path = "/v1/connect/intentions/exact?source=*&destination=api"
        began = time.monotonic()
        await asyncio.to_thread(many.agent.put, path, {"Action": "deny"})
        moments = await asyncio.gather(*ends)
    await asyncio.to_thread(many.agent.request, "DELETE", path)
    await carried(many)
    return sorted(each - began for each in moments)


async def flows(port: int, every_s: float, phase: float = 0.0) -> float:
    """The moment of the first call through this upstream that succeeds; tried each `every_s`."""
    await asyncio.sleep(every_s * phase)
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            if answer.startswith(b"HTTP/1.1 200"):
                return time.monotonic()
        except OSError:
            """Nobody listens there yet."""
        await asyncio.sleep(every_s)


async def carried(many: ManySidecars) -> list[float]:
    """The moments at which the sidecars carry their first calls."""
    async with asyncio.timeout(WAIT_S):
        return sorted(
            await asyncio.gather(
                *(flows(port, CALL_S, place / many.count) for place, port in enumerate(many.upstreams))
            )
        )


def change(many: ManySidecars, mark: str) -> tuple[list[float], float]:
    """Write a change: after how long each sidecar served by it, and what it cost the agent. Seconds."""
    agent = many.agent.process.pid if many.agent.process else 0
    used, written = processor_s([agent]), time.monotonic()
    many.write_mark(mark)
    moments = sorted(each - written for each in asyncio.run(seen(many.upstreams, mark, WAIT_S)))
    return moments, processor_s([agent]) - used


def back(many: ManySidecars, number: int) -> float:
    """Kill one: seconds until it carries a call again."""
    many.kill_proxy(f"svc-{number:03}")
    killed = time.monotonic()
    return asyncio.run(asyncio.wait_for(flows(many.upstreams[number], BACK_S), WAIT_S)) - killed


def restart(many: ManySidecars, how: signal.Signals) -> list[float]:
    """End the agent and start another: after how long each sidecar carries calls. SIGTERM ends its sidecars, SIGKILL not."""
    many.agent.stop(how)
    started = time.monotonic()
    many.agent.start(wait=False)
    return [each - started for each in asyncio.run(carried(many))]


def idle(many: ManySidecars) -> float:
    """Of one core, what all sidecars take while nobody calls; percent."""
    pids = list(many.proxies())
    used = processor_s(pids)
    time.sleep(IDLE_S)
    return (processor_s(pids) - used) / IDLE_S * 100


def row(what: str, *values: float, unit: str, bar: str = "", form: str = ".0f") -> None:
    """One line of the table."""
    shown = " ".join(format(value, form) for value in values)
    print(f"{what:52} {shown:>14} {unit:4} {bar}", flush=True)


def measure(folder: Path, count: int, rounds: int) -> None:
    """Start, measure, print."""
    with HttpApp("api") as api:
        many = ManySidecars(folder, count, api.port)
        started = time.monotonic()
        with many.agent:
            all_up = asyncio.run(carried(many))[-1] - started
            print(f"{count} sidecars, {rounds} rounds, looked at each {POLL_S:g} s")
            row("start of the agent until all carry calls", all_up, unit="s", form=".2f")
            memory = [value / 2**20 for value in sorted(many.proxies().values())]
            row("private memory: median, most", part(memory, 0.5), memory[-1], unit="MB", bar="bar 10", form=".1f")
            row("all of them idle, of one core", idle(many), unit="%", form=".1f")
            changes = [change(many, f"m{number}") for number in range(rounds)]
            spread = [statistics.median(part(moments, share) for moments, _ in changes) for share in (0.5, 0.99, 1.0)]
            row(
                "a change until new routes: p50, p99, last", *(1000 * each for each in spread), unit="ms", bar="bar 500"
            )
            row("  the agent's processor for it", 1000 * statistics.median(used for _, used in changes), unit="ms")
            cuts = [asyncio.run(denied(many)) for _ in range(rounds)]
            spread = [statistics.median(part(lives, share) for lives in cuts) for share in (0.5, 0.99, 1.0)]
            row("denied until cut: p50, p99, last", *(1000 * each for each in spread), unit="ms", bar="bar 1000")
            backs = [back(many, number) for number in range(rounds)]
            row("a killed one carries calls again", 1000 * statistics.median(backs), unit="ms", bar="bar 1000")
            cold = restart(many, signal.SIGTERM)
            row(
                "a new agent, cold: carry calls, first, p50, last",
                cold[0],
                part(cold, 0.5),
                cold[-1],
                unit="s",
                form=".2f",
            )


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
