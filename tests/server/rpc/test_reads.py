from __future__ import annotations

import asyncio
import random

from chowk.core.requests import CONSISTENT, DEFAULT, STALE
from chowk.core.runtime.clock import ManualClock
from chowk.server.rpc.reads import Reads
from chowk.server.state.machine import StoreMachine
from chowk.server.stream.wakeups import Wakeups
from support.consensus import SoloConsensus


def made() -> tuple[Reads, SoloConsensus]:
    machine = StoreMachine()
    consensus = SoloConsensus(machine)
    reads = Reads(machine, consensus, Wakeups(), "dc1", ManualClock(), random.Random(1))
    return reads, consensus


def test_a_leader_with_a_lease_asks_nobody_once_it_has_caught_up() -> None:
    async def run() -> list[int]:
        reads, consensus = made()
        await consensus.start()
        counts = []
        for _ in range(3):
            await reads.settle(DEFAULT)
            counts.append(consensus.barriers)
        return counts

    assert asyncio.run(run()) == [1, 1, 1]


def test_a_leader_whose_lease_ended_asks_the_others_although_it_believes_that_it_leads() -> None:
    async def run() -> list[int]:
        reads, consensus = made()
        await consensus.start()
        await reads.settle(DEFAULT)
        consensus.leased = False
        counts = []
        for consistency in (DEFAULT, CONSISTENT, STALE, DEFAULT):
            await reads.settle(consistency)
            counts.append(consensus.barriers)
        return counts

    assert asyncio.run(run()) == [2, 3, 3, 4]
