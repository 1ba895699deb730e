"""The nemesis: what goes wrong, for how long, and how it is undone. Each fault is one function that says what it does.

A fault never leaves a majority of servers hurt, so that progress is owed as soon as it ends. Seeded: a run can be repeated,
though real processes never repeat exactly.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from chaos.world import World
from harness.agent import AgentProcess
from harness.cluster import Cluster

SERVER_MODULE: Final = "chowk.server.main"
DISK_FILE: Final = "ballast"


class Nemesis:
    """`faults` by name; `strike(name, seconds)` does one and undoes it."""

    def __init__(self, cluster: Cluster, world: World, rng: random.Random) -> None:
        self._cluster = cluster
        self._world = world
        self._rng = rng
        self._faults: dict[str, Callable[[], object]] = {
            "kill the leader's host": self._kill_leader_host,
            "kill a server process": self._kill_server,
            "kill every server at once": self._kill_all,
            "freeze the leader": self._freeze_leader,
            "restart the servers one by one": self._rolling_restart,
        }
        if world.can_cut:
            self._faults |= {
                "cut the leader off": self._cut_leader,
                "cut the leader's way out": self._cut_one_way,
                "a bridge between two halves": self._bridge,
                "a minority cut off": self._cut_minority,
                "a slow and lossy network": self._slow,
            }
        if world.disks:
            self._faults["a full disk"] = self._fill_disk

    @property
    def names(self) -> tuple[str, ...]:
        """Every fault there is in this world."""
        return tuple(self._faults)

    def strike(self, name: str, seconds: float) -> str:
        """One fault from its begin to its end. What was hurt, in words."""
        fault = contextmanager(self._faults[name])  # type: ignore[arg-type]
        with fault() as victims:
            time.sleep(seconds)
        return str(victims)

    # --- processes

    def _leader(self) -> AgentProcess:
        return self._cluster.leader(timeout_s=30)

    def _kill_leader_host(self) -> Iterator[str]:
        leader = self._leader()
        self._cluster.kill(leader)
        yield leader.node
        leader.start(wait=False)

    def _kill_server(self) -> Iterator[str]:
        victim = self._rng.choice(self._cluster.servers)
        os.kill(victim.child(SERVER_MODULE), signal.SIGKILL)
        yield victim.node

    def _kill_all(self) -> Iterator[str]:
        for agent in self._cluster.servers:
            self._cluster.kill(agent)
        yield "all servers"
        for agent in self._cluster.servers:
            agent.start(wait=False)

    def _freeze_leader(self) -> Iterator[str]:
        leader = self._leader()
        pid = leader.child(SERVER_MODULE)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield leader.node
        finally:
            os.kill(pid, signal.SIGCONT)

    def _rolling_restart(self) -> Iterator[str]:
        for agent in self._cluster.servers:
            agent.stop()
            agent.start(wait=False)
            self._cluster.wait_ready()
        yield "all servers"

    # --- the network

    def _host(self, agent: AgentProcess) -> int:
        return int(agent.address.rpartition(".")[2])

    def _split(self, side: set[int], *, both_ways: bool = True) -> list[tuple[int, int, float, float]]:
        links = []
        for one in side:
            for other in set(self._world.hosts) - side:
                links.append((one, other, 1.0, 0.0))
                if both_ways:
                    links.append((other, one, 1.0, 0.0))
        return links

    def _with_links(self, links: list[tuple[int, int, float, float]], what: str) -> Iterator[str]:
        self._world.set_links(links)
        try:
            yield what
        finally:
            self._world.heal()

    def _cut_leader(self) -> Iterator[str]:
        leader = self._leader()
        yield from self._with_links(self._split({self._host(leader)}), leader.node)

    def _cut_one_way(self) -> Iterator[str]:
        leader = self._leader()
        yield from self._with_links(self._split({self._host(leader)}, both_ways=False), leader.node)

    def _bridge(self) -> Iterator[str]:
        """Two halves that do not hear each other, and one server that hears both."""
        hosts = [self._host(agent) for agent in self._cluster.servers]
        self._rng.shuffle(hosts)
        middle, rest = hosts[0], hosts[1:]
        left, right = set(rest[::2]), set(rest[1::2])
        links = [(a, b, 1.0, 0.0) for a in left for b in right] + [(b, a, 1.0, 0.0) for a in left for b in right]
        yield from self._with_links(links, f"host {middle} hears both")

    def _cut_minority(self) -> Iterator[str]:
        hosts = [self._host(agent) for agent in self._cluster.servers]
        side = set(self._rng.sample(hosts, (len(hosts) - 1) // 2))
        yield from self._with_links(self._split(side), f"hosts {sorted(side)}")

    def _slow(self) -> Iterator[str]:
        hosts = self._world.hosts
        links = [(one, other, 0.05, 0.02) for one in hosts for other in hosts if one != other]
        yield from self._with_links(links, "every link: 5 % lost, 20 ms")

    # --- the disk

    def _fill_disk(self) -> Iterator[str]:
        host, path = self._rng.choice(sorted(self._world.disks.items()))
        ballast = path / DISK_FILE
        block = b"\0" * 65_536
        try:
            with ballast.open("wb", buffering=0) as file:
                while file.write(block):
                    continue
        except OSError:
            pass  # full: that is what we are here for
        try:
            yield f"host {host}"
        finally:
            ballast.unlink(missing_ok=True)
