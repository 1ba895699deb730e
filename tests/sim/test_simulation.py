"""Seeds of whole clusters under every fault: RELIABILITY's promises after each step, and after the faults they converge."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sim.profile import KINDS, draw
from sim.run import judge
from sim.world import World

TESTS = Path(__file__).resolve().parents[1]
SEEDS = 1000
BATCH = 50
TRACE = """
import hashlib, sys
from sim.profile import draw
from sim.world import World
world = World(int(sys.argv[1]), draw(int(sys.argv[1]), sys.argv[2]))
world.run()
print(hashlib.sha256(repr(world.trace).encode()).hexdigest())
"""


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_every_promise_holds_after_every_step_and_the_cluster_converges_when_the_faults_stop(first: int) -> None:
    for seed in range(first, first + BATCH):
        failure = judge(seed)
        assert failure is None, failure


@pytest.mark.parametrize("kind", [name for name, _weight in KINDS])
def test_the_same_seed_gives_the_same_trace_in_another_process_with_other_hashes(kind: str) -> None:
    world = World(11, draw(11, kind))
    world.run()
    here = hashlib.sha256(repr(world.trace).encode()).hexdigest()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", TRACE, "11", kind],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TESTS)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip().splitlines()[-1] == here


def test_every_fault_happens_and_work_is_done_meanwhile() -> None:
    faults: set[object] = set()
    entries = snapshots = 0
    for seed in range(48):
        world = World(seed, draw(seed, KINDS[seed % len(KINDS)][0]))
        world.run()
        faults |= {what[0] for _time, who, what in world.trace if who == "fault"}
        entries += world.invariants.committed_last
        snapshots += sum(world.invariants.snapshots.values())
    named = {name for seed in range(200) for name, _weight in draw(seed).faults}
    assert faults == named
    assert entries > 48 * 60
    assert snapshots > 48
