"""`make sim SEEDS=N`: seeds in parallel, with a bar; of one that fails, how to replay it, its trace and every server.

python tests/sim/run.py --seeds 1000 [--first 0] [--kind members]      many
python tests/sim/run.py --replay 17 [--kind members]                   one, with its trace
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import structlog
from sim.profile import KINDS, draw
from sim.world import FAILURES, World

TRACE_LINES: Final = 120
BAR: Final = 40
CHUNK: Final = 10
FAILURES_SHOWN: Final = 5


def judge(seed: int, kind: str = "", *, lines: int = TRACE_LINES) -> str | None:
    """Run a seed; None when all is well, else everything a person needs to find out why."""
    world = World(seed, draw(seed, kind))
    try:
        world.run()
    except Exception as error:  # noqa: BLE001 (whatever it is, a person must see it with the trace)
        return explanation(world, kind, error, lines)
    return None


def explanation(world: World, kind: str, error: Exception, lines: int) -> str:
    """What went wrong, how to see it again, the end of the trace and the servers."""
    what = [f"seed {world.seed} ({world.profile.kind}) at {world.agenda.now:.3f} s: {type(error).__name__}: {error}"]
    if not isinstance(error, FAILURES):
        what += traceback.format_exception(error)
    what += [
        f"replay: python tests/sim/run.py --replay {world.seed}" + (f" --kind {kind}" if kind else ""),
        f"profile: {world.profile}",
        f"the last {lines} lines of {len(world.trace)}:",
    ]
    what += [f"  {time_s:9.4f} {who:>8} {_line(line)}" for time_s, who, line in world.trace[-lines:]]
    return "\n".join([*what, "servers:", *(f"  {line}" for line in world.describe())])


def _line(what: tuple[object, ...]) -> str:
    return " ".join(str(part) for part in what)[:300]


def _judged(work: tuple[int, str]) -> tuple[int, str | None]:
    return work[0], judge(*work)


def _quiet() -> None:
    """The real storage warns of what it mends; here that is all day."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _run(first: int, count: int, kind: str, workers: int) -> int:
    failures = done = 0
    began = time.monotonic()
    context = multiprocessing.get_context("fork")
    with context.Pool(workers, _quiet) as pool:
        work = ((seed, kind) for seed in range(first, first + count))
        for _seed, failure in pool.imap_unordered(_judged, work, chunksize=CHUNK):
            done += 1
            if failure is not None:
                failures += 1
                if failures <= FAILURES_SHOWN:
                    print(f"\r{failure}\n", flush=True)
            _show(done, count, failures, time.monotonic() - began)
    print(f"\n{done} seeds, {failures} failed, {time.monotonic() - began:.0f} s on {workers} cores")
    return 1 if failures else 0


def _show(done: int, count: int, failures: int, passed_s: float) -> None:
    if sys.stderr.isatty() or done % max(1, count // 20) == 0:
        filled = BAR * done // count
        left_s = passed_s / done * (count - done)
        bar = "#" * filled + "." * (BAR - filled)
        print(f"\r[{bar}] {done}/{count} failed {failures}, {left_s:.0f} s left ", end="", file=sys.stderr, flush=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", default="", choices=["", *(name for name, _weight in KINDS)])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", type=int, help="one seed, with its trace")
    parser.add_argument("--lines", type=int, default=TRACE_LINES, help="of the trace, at its end")
    chosen = parser.parse_args()
    if chosen.replay is None:
        return _run(chosen.first, chosen.seeds, chosen.kind, chosen.workers)
    _quiet()
    failure = judge(chosen.replay, chosen.kind, lines=chosen.lines)
    print(failure or f"seed {chosen.replay}: all is well")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
