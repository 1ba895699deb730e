"""A cluster, its network, disks, clocks and clients, under one seed: run it, break it, let it recover, and judge it."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sim.agenda import Agenda, LocalClock, Violation
from sim.client import Client, Watcher
from sim.disk import ModelDisk, RealDisk, SimulatedDisk
from sim.faults import Faults
from sim.invariants import Invariants
from sim.network import Network
from sim.operator import Operator
from sim.profile import Profile, draw
from sim.server import Server
from sim.stability import Stability

from chowk.server.raft.effects import Persist
from chowk.server.raft.errors import BrokenInvariant
from chowk.server.raft.messages import InstallSnapshot, Message
from chowk.server.raft.records import Configuration, HardState, Member, bootstrap_entry
from chowk.server.raft.settings import Settings
from support.linearizability import Operation, is_linearizable

STEPS_MAX: Final = 150_000
BUSY_S: Final = 3.0
"""How long the clients go on after the last fault, at least."""
CONVERGED_WITHIN_S: Final = 40.0
SNAPSHOT_TIMEOUT_S: Final = 2.0
ELECTION_TIMEOUT_S: Final = 1.0


class World:
    """One seed. `run` returns when all is well; Violation, BrokenInvariant else."""

    def __init__(self, seed: int, profile: Profile | None = None) -> None:
        self.seed = seed
        self.profile = profile or draw(seed)
        self.rng = random.Random(f"world {seed}")
        self.agenda = Agenda()
        self.network = Network(self.agenda, self.profile, self.rng)
        self.invariants = Invariants(self)
        self.servers: dict[str, Server] = {}
        self.trace: list[tuple[float, str, tuple[Any, ...]]] = []
        self.is_calm = False
        self.is_over = False
        self._number = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.keys = [f"k{number}" for number in range(self.profile.keys)]
        self.histories: dict[str, list[Operation]] = {key: [] for key in self.keys}
        self.last_values: dict[str, int] = {}
        self.clients: list[Client] = []
        self.operator = Operator(self)

    def next_number(self) -> int:
        """A number that was not used before."""
        self._number += 1
        return self._number

    def note(self, who: str, *what: Any) -> None:
        """A line of the trace."""
        self.trace.append((self.agenda.now, who, what))

    # Servers.

    def _server(self, id: str) -> Server:
        profile, rng = self.profile, self.rng
        disk: SimulatedDisk = ModelDisk()
        if profile.real_disk:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="chowk-sim-")
            disk = RealDisk(Path(self._folder.name) / id, rng.randrange(1 << 30))
        settings = Settings(
            election_timeout_s=ELECTION_TIMEOUT_S,
            heartbeat_s=profile.heartbeat_s,
            message_bytes_max=rng.choice((120, 400)),
            inflight_messages_max=rng.choice((2, 8)),
            apply_entries_max=rng.choice((3, 256)),
        )
        clock = LocalClock(self.agenda, rng.uniform(0.0, 1000.0), 1.0 + rng.uniform(-profile.drift, profile.drift))
        server = self.servers[id] = Server(self, id, disk, settings, clock)
        return server

    def _bootstrap(self) -> None:
        profile = self.profile
        members = [Member(f"s{number}", f"s{number}", voter=number <= profile.voters)
                   for number in range(1, profile.voters + profile.learners + 1)]  # fmt: skip
        entry = bootstrap_entry(Configuration(tuple(members)))
        for member in members:
            server = self._server(member.id)
            server.disk.open()
            server.disk.persist([Persist(0, HardState(1), None, (entry,))])
        for server in list(self.servers.values()):
            server.start()

    def add_blank(self) -> Server:
        """A new server that knows nothing."""
        server = self._server(f"s{len(self.servers) + 1}")
        server.start()
        return server

    def running(self) -> list[Server]:
        """Those that are up, in order."""
        return [server for server in self.servers.values() if server.raft is not None]

    def alive(self) -> list[Server]:
        """Those that are up or may come back."""
        return [server for server in self.servers.values() if not server.is_ruined and not server.is_retired]

    def deliver(self, message: Message) -> None:
        """A message arrived at its target's host."""
        target = self.servers.get(message.target)
        if target is not None:
            target.receive(message)

    def send_snapshot(self, message: InstallSnapshot, chunks: tuple[bytes, ...], ended: Callable[[bool], None]) -> None:
        """A snapshot goes out in chunks; `ended` is told once whether the target has it."""
        sender, target, network = message.sender, message.target, self.network
        is_told = False

        def tell(arrived: bool) -> None:
            nonlocal is_told
            if not is_told:
                is_told = True
                ended(arrived)

        def answer(arrived: bool) -> None:
            if not network.is_cut(target, sender) and self.rng.random() >= network.drop:
                self.agenda.after(network.delay(), tell, arrived)

        def arrived() -> None:
            server = self.servers.get(target)
            if server is not None:
                server.receive_snapshot(message, chunks, answer)

        network.stream(sender, target, self.profile.chunks, arrived, tell)
        self.agenda.after(SNAPSHOT_TIMEOUT_S, tell, False)

    # The run.

    def run(self) -> None:
        """Faults, then calm, then the judgement."""
        try:
            self._bootstrap()
            self.clients = [Client(self, number) for number in range(self.profile.clients)]
            Watcher(self)
            Faults(self)
            stability = Stability(self) if self.profile.kind == "stable" else None
            self.agenda.run_until(self.profile.seconds, STEPS_MAX)
            if stability is not None:
                stability.judge()
            self._calm()
            self._converge()
            self._judge()
        finally:
            if self._folder is not None:
                for server in self.servers.values():
                    server.disk.close()
                self._folder.cleanup()

    def _calm(self) -> None:
        self.note("calm")
        self.is_calm = True
        self.network.calm()
        for server in list(self.servers.values()):
            server.slowness, server.disk_error = 1.0, 0
            if server.paused:
                server.resume()
            if server.raft is None and not server.is_ruined and not server.is_retired:
                server.start()

    def _converge(self) -> None:
        """Everyone agrees soon, new writes are served, and then nothing happens that need not."""
        if self._lost_quorum():
            self.note("no quorum is left")
            return
        acknowledged = {client.name: client.acknowledged for client in self.clients}
        self.agenda.run_until(self.agenda.now + BUSY_S, STEPS_MAX)
        self._wait(
            "the servers agree and every client is served",
            lambda: self._agrees(3) and all(each.acknowledged > acknowledged[each.name] for each in self.clients),
        )
        self.is_over = True
        self._wait("all is quiet", lambda: self._agrees(0) and all(client.is_idle for client in self.clients))
        leader = self._leader()
        sent, term = dict(self.invariants.snapshots), leader.raft.term if leader is not None and leader.raft else 0
        self.agenda.run_until(self.agenda.now + 4.0, STEPS_MAX)
        if leader is None or leader.raft is None or not leader.raft.leads or leader.raft.term != term:
            raise Violation("the leader changed while nothing was wrong")
        if not self._agrees(0):
            raise Violation("the servers differ when nobody writes")
        looped = {target: count - sent.get(target, 0) for target, count in self.invariants.snapshots.items()}
        if any(count > 1 for count in looped.values()):
            raise Violation(f"snapshots are sent again and again: {looped}")

    def _wait(self, what: str, is_so: Callable[[], bool]) -> None:
        end = self.agenda.now + CONVERGED_WITHIN_S
        while not is_so():
            if self.agenda.now >= end:
                raise Violation(f"{CONVERGED_WITHIN_S:g} s without a fault, and still not: {what}")
            self.agenda.run_until(self.agenda.now + 0.5, STEPS_MAX)

    def _lost_quorum(self) -> bool:
        """Whether so many disks rotted that the last members cannot agree on anything. It must not be the rule."""
        latest = max(
            (s.raft for s in self.running() if s.raft), key=lambda raft: (raft.last_term, raft.last_index), default=None
        )
        if latest is None:
            return True
        for configuration in {latest.configuration}:
            up = [
                voter
                for voter in configuration.voters
                if voter in self.servers and self.servers[voter].raft is not None
            ]
            if len(up) <= len(configuration.voters) // 2:
                return True
        return False

    def _leader(self) -> Server | None:
        leaders = [server for server in self.running() if server.raft is not None and server.raft.leads]
        return max(leaders, key=lambda server: server.raft.term if server.raft else 0, default=None)

    def _agrees(self, behind_max: int) -> bool:
        """Whether there is a leader, and no member is further behind it."""
        leader = self._leader()
        if leader is None or leader.raft is None:
            return False
        members = [self.servers[member.id] for member in leader.raft.configuration.members]
        return all(
            server.machine.index >= leader.raft.commit_index - behind_max
            for server in members
            if server.raft is not None
        )

    def _judge(self) -> None:
        for key, history in self.histories.items():
            if not is_linearizable(history):
                raise Violation(f"the history of {key} is not linearizable: {history}")

    def describe(self) -> list[str]:
        """Each server in a line."""
        return [
            f"{server.id}: " + (server.raft.describe(server.clock.now()) if server.raft is not None else "down")
            for server in self.servers.values()
        ]


FAILURES: Final = (Violation, BrokenInvariant)
