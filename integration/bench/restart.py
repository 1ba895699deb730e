"""How soon a server that was killed writes again, with 1,000,000 entries of the log behind it.

Twice: as one is left at its worst moment, just before its next snapshot; and one that never took a snapshot, so that it
applies every entry again (no server is left so; it shows what an entry costs). The entries are KV writes of 200 bytes to
2,000 keys, put into the folder of a real server by its own storage code; the time is from exec to the first write that is
acknowledged.
"""

from __future__ import annotations

import http.client
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chowk.core import codec
from chowk.core.commands import Envelope, PutKey
from chowk.core.server_options import RaftTuning
from chowk.server.driver.snapshots import LOG_ENTRIES
from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Configuration, Entry, EntryKind, SnapshotMeta
from chowk.server.state.machine import StoreMachine
from chowk.server.storage.durable import DurableStorage
from harness.agent import AgentProcess
from harness.waiting import eventually

ENTRIES = 1_000_000
RUNS = 3
BAR_S = 5.0
BATCH = 1000
SINCE = LOG_ENTRIES - 3 * BATCH
"""Entries since the last snapshot: a few thousand more, and the next one is due."""
KEYS = 2000
TIMEOUT_S = 120.0


def fill(folder: Path, snapshot_at: int) -> None:
    """Go on with a stopped server's log up to ENTRIES, with a snapshot at that entry (0: none)."""
    storage = DurableStorage(folder)
    restored = storage.open()
    machine = StoreMachine()
    for entry in restored.entries:
        if entry.kind is EntryKind.COMMAND:
            machine.apply(entry.index, entry.data)
    changes = [entry for entry in restored.entries if entry.kind is EntryKind.CONFIGURATION]
    configuration = Configuration.decode(changes[-1].data)
    value = random.Random(1).randbytes(200)
    first, term = restored.entries[-1].index + 1, restored.hard_state.term
    for start in range(first, ENTRIES + 1, BATCH):
        entries = tuple(
            Entry(index, term, EntryKind.COMMAND, codec.pack(
                Envelope(client="c" * 32, sequence=index, time_s=1.7e9,
                         command=PutKey(key=b"bench/%d" % (index % KEYS), value=value))
            ))
            for index in range(start, min(start + BATCH, ENTRIES + 1))
        )  # fmt: skip
        storage.persist([Persist(0, None, None, entries)])
        if entries[0].index <= snapshot_at:
            for entry in entries:
                machine.apply(entry.index, entry.data)
            if entries[-1].index >= snapshot_at:
                meta = SnapshotMeta(entries[-1].index, term, configuration, changes[-1].index)
                storage.save_snapshot(meta, machine.snapshot()())
                storage.compact(meta.index - RaftTuning().trailing_logs)
    storage.close()


def wrote(agent: AgentProcess) -> bool:
    """Whether a write is acknowledged."""
    connection = http.client.HTTPConnection(agent.address, agent.http_port, timeout=TIMEOUT_S)
    try:
        connection.request("PUT", "/v1/kv/first", b"x")
        return connection.getresponse().read() == b"true"
    except OSError:
        return False
    finally:
        connection.close()


def restarted_s(agent: AgentProcess) -> float:
    """Seconds from exec to an acknowledged write; then it is killed again."""
    began = time.perf_counter()
    agent.start(wait=False)
    eventually(lambda: wrote(agent), "a write", TIMEOUT_S)
    took = time.perf_counter() - began
    agent.stop()
    return took


def measure(name: str, snapshot_at: int, runs: int) -> tuple[str, list[float]]:
    """A row: its name, and the seconds of each restart of a copy of the same folder."""
    with tempfile.TemporaryDirectory() as folder:
        agent = AgentProcess(Path(folder), dev=False, node="restarted")
        with agent:
            eventually(lambda: wrote(agent), "a first write", 30)
        fill(agent.data_dir / "server" / "raft", snapshot_at)
        return name, [restarted_s(agent) for _ in range(runs)]


def main() -> None:
    """Print the table."""
    rows = [
        measure(f"the last {SINCE:,} of them since a snapshot", ENTRIES - SINCE, RUNS),
        measure("never a snapshot: all are applied again", 0, 1),
    ]
    print(f"{'restart with ' + format(ENTRIES, ',') + ' entries behind it':<48}{'median s':>10}{'worst s':>10}  bar")
    for name, times in rows:
        bar = f"≤ {BAR_S:g} s" if len(times) > 1 else ""
        print(f"{name:<48}{sorted(times)[len(times) // 2]:>10.2f}{max(times):>10.2f}  {bar}")


if __name__ == "__main__":
    main()
