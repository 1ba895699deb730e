"""A real process that proposes and prints each acknowledged index until it is killed: `proposing_server.py FOLDER`."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from chowk.core.runtime import logging
from chowk.core.runtime.clock import SystemClock
from chowk.core.server_options import RaftTuning, ServerOptions
from chowk.server.consensus import make_consensus


class Journal:
    """A state machine that keeps what was applied."""

    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}

    def apply(self, index, entry):
        self.entries[index] = entry
        return index

    def snapshot(self):
        frozen = dict(self.entries)
        return lambda: (b"%d %s\n" % item for item in frozen.items())

    def thaw(self, chunks):
        lines = (line.split(b" ", 1) for line in b"".join(chunks).splitlines())
        entries = {int(index): entry for index, entry in lines}
        return lambda: self.replace(entries)

    def replace(self, entries):
        self.entries = entries


def make_journal(folder: Path, **raft: int):
    machine = Journal()
    tuning = RaftTuning(**{"snapshot_threshold": 100, "snapshot_interval_s": 0.0, "trailing_logs": 20, **raft})
    options = ServerOptions(node_id="n1", node_name="n1", socket_path="", data_dir=str(folder), raft=tuning)
    return machine, make_consensus(options, machine, SystemClock(), random.Random(1), lambda error: None)


async def propose_for_ever(folder: Path) -> None:
    _machine, consensus = make_journal(folder)
    await consensus.start()

    async def client(name: int) -> None:
        for number in range(1_000_000):
            entry = b"client%d-%d" % (name, number)
            index = await consensus.propose(entry, timeout_s=10)
            sys.stdout.buffer.write(b"%d %s\n" % (index, entry))
            sys.stdout.buffer.flush()

    await asyncio.gather(*(client(name) for name in range(8)))


if __name__ == "__main__":
    logging.configure("error", json=True, process="server")
    asyncio.run(propose_for_ever(Path(sys.argv[1])))
