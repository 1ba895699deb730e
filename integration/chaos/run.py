"""Break a cluster of real processes for a while, and judge what its clients saw.

    make chaos HOURS=2            or, with `integration` and `tests` on PYTHONPATH:
    python integration/chaos/run.py --servers 3 --minutes 2 --seed 7

Needs root for network namespaces; without them it runs on loopback, cuts nothing, and says so. Called by
integration/test_chaos.py too. Exit status 0: nothing was lost, nothing was stale.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from chaos.clients import Clients
from chaos.history import History
from chaos.nemesis import Nemesis
from chaos.verdict import Verdict
from chaos.world import World, enter
from harness.agent import AgentProcess
from harness.cluster import Cluster

DISK_MB = 48
FAULT_S = (3.0, 7.0)
CALM_S = (3.0, 6.0)
LAST_CALM_S = 8.0
SETTLED_S = 60.0
"""What began longer ago has ended."""
CLIENTS_EACH = 2
HCL = """
raft_snapshot_threshold = 512
raft_snapshot_interval = "2s"
raft_trailing_logs = 128
limits { http_max_conns_per_client = 0 }
"""
"""Snapshots and compaction come often, so that faults meet them."""


def main() -> int:
    """Parse the command line and run; the exit status."""
    options = _options()
    can_cut = enter()
    if not can_cut:
        print("no network namespaces here: running on loopback, where nothing can be cut or slowed", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chowk-chaos-"))
    world = World(range(10, 10 + options.servers), can_cut=can_cut)
    try:
        world.start()
        return _run(options, world, folder)
    finally:
        world.close()
        if options.keep:
            print(f"logs and data: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--servers", type=int, default=3, choices=(3, 5))
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", default="", help="only faults whose name contains this")
    parser.add_argument("--keep", action="store_true", help="keep logs and data")
    return parser.parse_args()


def _run(options: argparse.Namespace, world: World, folder: Path) -> int:
    rng = random.Random(options.seed)
    print(f"{options.servers} servers, {options.minutes:g} minutes, seed {options.seed}", flush=True)
    cluster = Cluster(folder, options.servers, hcl=HCL, network=world.address(0).rpartition(".")[0])
    hosts = {agent.node: int(agent.address.rpartition(".")[2]) for agent in cluster.servers}
    if world.can_cut:
        last = cluster.servers[-1]
        world.small_disk(hosts[last.node], last.data_dir, DISK_MB)
        for agent in cluster.servers:
            agent.prefix = tuple(world.command(hosts[agent.node]))
        _shift_clock(cluster.servers[0])
    history = History()

    def read_set(era: int) -> dict[str, set[str]]:
        answers = {
            agent.node: agent.request("GET", f"/v1/kv/chaos/set/{era}/?keys&consistent") for agent in cluster.servers
        }
        return {node: set(json.loads(body)) if status == 200 else set() for node, (status, _, body) in answers.items()}

    verdict = Verdict(history, read_set)
    with cluster:
        addresses = {agent.node: (agent.address, agent.http_port) for agent in cluster.servers}
        clients = Clients(addresses, history, rng, CLIENTS_EACH)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_until_complete, args=(clients.run(),), daemon=True)
        thread.start()
        try:
            _torment(Nemesis(cluster, world, rng), cluster, options, rng, verdict)
        finally:
            loop.call_soon_threadsafe(clients.stop.set)
            thread.join(60)
        return verdict.close()


def _torment(
    nemesis: Nemesis, cluster: Cluster, options: argparse.Namespace, rng: random.Random, verdict: Verdict
) -> None:
    """Every fault at least once if there is time, in a shuffled order, until the time is over; then calm."""
    ends = time.monotonic() + 60 * options.minutes
    names = [name for name in nemesis.names if options.only in name]
    waiting: list[str] = []
    while time.monotonic() < ends:
        if not waiting:
            waiting = rng.sample(names, len(names))
        name = waiting.pop()
        began = time.monotonic()
        victims = nemesis.strike(name, rng.uniform(*FAULT_S))
        cluster.wait_ready(60)
        verdict.judge(time.monotonic() - SETTLED_S)
        print(
            f"{time.strftime('%H:%M:%S')}  {name:34} {victims:28} whole again after "
            f"{time.monotonic() - began:4.1f} s; {len(verdict.problems)} violations; "
            f"left {max(0.0, ends - time.monotonic()):5.0f} s",
            flush=True,
        )
        time.sleep(rng.uniform(*CALM_S))
    time.sleep(LAST_CALM_S)


def _shift_clock(agent: AgentProcess) -> None:
    """One host's wall clock is an hour off, where the tool for that is there."""
    if shutil.which("faketime"):
        os.environ["DONT_FAKE_MONOTONIC"] = "1"
        agent.prefix = (*agent.prefix, "faketime", "-f", "+3600s")
        print(f"the clock of {agent.node} is an hour ahead", flush=True)


if __name__ == "__main__":
    sys.exit(main())
