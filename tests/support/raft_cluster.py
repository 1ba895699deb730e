"""A whole cluster of Raft cores in one process: one seed decides the network, the disks, the crashes and the clock.

Checked at every step: one leader a term, logs that match, committed entries that never change, monotonic terms and commits.
"""

from __future__ import annotations

import heapq
import random
from typing import Any

from chowk.server.raft.core import Raft
from chowk.server.raft.effects import Persist
from chowk.server.raft.errors import ChangeRefused, NotLeading, TooMuchUncommitted
from chowk.server.raft.messages import InstallSnapshot, Message
from chowk.server.raft.records import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Member,
    Restored,
    SnapshotMeta,
    bootstrap_entry,
)
from chowk.server.raft.settings import Settings
from chowk.server.raft.state import Role

SETTINGS = Settings(election_timeout_s=1.0, heartbeat_s=0.15, message_bytes_max=300, inflight_messages_max=4)


class Machine:
    """Server: a disk (what a crash leaves) and the core in memory (what it takes)."""

    def __init__(self, id: str, first: Restored) -> None:
        self.id = id
        self.hard_state = first.hard_state
        self.snapshot = first.snapshot
        self.snapshot_state: tuple[bytes, ...] = ()
        self.entries = list(first.entries)
        self.raft: Raft | None = None
        self.applied: list[bytes] = []
        self.applied_index = 0
        self.life = 0
        self.disk_free_s = 0.0

    def restored(self) -> Restored:
        return Restored(self.hard_state, self.snapshot, tuple(self.entries))

    def write(self, persist: Persist, state: tuple[bytes, ...]) -> None:
        if persist.hard_state is not None:
            assert persist.hard_state.term >= self.hard_state.term
            self.hard_state = persist.hard_state
        if persist.install is not None:
            self.snapshot, self.snapshot_state, self.entries = persist.install, state, []
        if persist.entries:
            first = persist.entries[0].index
            self.entries = [entry for entry in self.entries if entry.index < first] + list(persist.entries)
            indexes = [entry.index for entry in self.entries]
            assert indexes == list(range(indexes[0], indexes[0] + len(indexes)))


class Cluster:
    def __init__(self, seed: int, size: int, drop: float = 0.0, duplicate: float = 0.0, delay_s: float = 0.02) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.drop, self.duplicate, self.delay_s = drop, duplicate, delay_s
        ids = [f"s{number}" for number in range(1, size + 1)]
        configuration = Configuration(tuple(Member(id, f"{id}:8300") for id in ids))
        first = Restored(HardState(1), None, (bootstrap_entry(configuration),))
        self.machines = {id: Machine(id, first) for id in ids}
        self.cut: set[tuple[str, str]] = set()
        self.events: list[tuple[float, int, str, Any]] = []
        self.count = 0
        self.leaders: dict[int, str] = {}
        self.committed: dict[int, Entry] = {}
        self.states: dict[int, tuple[bytes, ...]] = {}
        self.terms: dict[str, tuple[int, int]] = {}
        self.reads: list[tuple[str, int, int, int]] = []
        self.read_floor: dict[int, int] = {}
        self.led_commits: dict[str, int] = {}
        for id in ids:
            self.boot(id)

    def add(self, id: str) -> None:
        self.machines[id] = Machine(id, Restored())
        self.boot(id)

    def boot(self, id: str) -> None:
        machine = self.machines[id]
        machine.raft = Raft(id, machine.restored(), SETTINGS, random.Random(self.rng.random()), self.now)
        machine.applied = list(machine.snapshot_state)
        machine.applied_index = machine.snapshot.index if machine.snapshot else 0
        machine.life += 1
        self.terms[id] = (0, 0)
        self.pump(machine)

    def crash(self, id: str) -> None:
        machine = self.machines[id]
        machine.raft = None
        machine.life += 1

    def at(self, delay_s: float, kind: str, what: Any) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + delay_s, self.count, kind, what))

    def pump(self, machine: Machine) -> None:
        raft = machine.raft
        if raft is None:
            return
        while True:
            effects = raft.take_effects(self.now)
            if effects.is_empty:
                break
            for message in effects.messages:
                self.post(message)
            for persist in effects.persists:
                state = self.states[persist.install.index] if persist.install is not None else ()
                machine.disk_free_s = max(self.now, machine.disk_free_s) + self.rng.uniform(0, self.delay_s)
                self.at(machine.disk_free_s - self.now, "disk", (machine.id, machine.life, persist, state))
            for entry in effects.committed:
                self.apply(machine, entry)
            for read in effects.reads:
                if read.index is not None:
                    assert read.index >= self.read_floor[read.context], "a stale read"
        self.check(machine)

    def post(self, message: Message) -> None:
        copies = 0 if self.rng.random() < self.drop else 2 if self.rng.random() < self.duplicate else 1
        if copies == 0 and isinstance(message, InstallSnapshot):
            self.at(0.3, "lost", message)
        for _ in range(copies):
            self.at(self.rng.uniform(0, self.delay_s), "message", message)

    def apply(self, machine: Machine, entry: Entry) -> None:
        assert entry.index == machine.applied_index + 1, "an entry skipped or twice"
        machine.applied_index = entry.index
        if entry.kind is EntryKind.COMMAND:
            machine.applied.append(entry.data)
        known = self.committed.setdefault(entry.index, entry)
        assert known == entry, f"two entries committed at {entry.index}"
        self.states.setdefault(entry.index, tuple(machine.applied))
        assert self.states[entry.index] == tuple(machine.applied), "state machines differ"
        assert entry in machine.entries, "applied before it is durable"

    def check(self, machine: Machine) -> None:
        raft = machine.raft
        assert raft is not None
        if raft.role is Role.LEADER:
            assert self.leaders.setdefault(raft.term, raft_id := machine.id) == raft_id, "two leaders in a term"
            for index, entry in self.committed.items():
                if entry.term < raft.term and index > (raft.snapshot.index if raft.snapshot else 0):
                    term = raft.term_at(index)
                    assert term is None or term == entry.term, "a leader lacks a committed entry"
            assert raft.last_index >= max((i for i, e in self.committed.items() if e.term < raft.term), default=0)
        for holder in self.machines.values():
            if holder.raft is not None and holder.raft.has_lease(self.now):
                newest = max(self.led_commits.values(), default=0)
                assert holder.raft.commit_index >= newest, "a read by lease would be stale"
        if raft.leads:
            self.led_commits[machine.id] = max(self.led_commits.get(machine.id, 0), raft.commit_index)
        before = self.terms[machine.id]
        after = (raft.term, raft.commit_index)
        assert after[0] >= before[0]
        assert after[1] >= before[1]
        self.terms[machine.id] = after

    def step(self) -> None:
        """The next thing that happens: an event, or a timer."""
        timers = [
            (deadline, id)
            for id, machine in sorted(self.machines.items())
            if machine.raft is not None and (deadline := machine.raft.next_deadline()) is not None
        ]
        timer = min(timers, default=(float("inf"), ""))
        if self.events and self.events[0][0] <= timer[0]:
            self.now, _count, kind, what = heapq.heappop(self.events)
            self.happen(kind, what)
        elif timer[1]:
            self.now = max(self.now, timer[0])
            machine = self.machines[timer[1]]
            assert machine.raft is not None
            machine.raft.handle_timer(self.now)
            self.pump(machine)
        else:
            self.now += 0.1

    def happen(self, kind: str, what: Any) -> None:
        if kind == "disk":
            id, life, persist, state = what
            machine = self.machines[id]
            if machine.life == life and machine.raft is not None:
                machine.write(persist, state)
                if persist.install is not None:
                    machine.applied, machine.applied_index = list(state), persist.install.index
                machine.raft.persisted(persist.sequence, self.now)
                self.pump(machine)
            return
        message = what
        target, sender = self.machines.get(message.target), self.machines[message.sender]
        if kind == "lost" or target is None or target.raft is None or (message.sender, message.target) in self.cut:
            if isinstance(message, InstallSnapshot) and sender.raft is not None:
                sender.raft.snapshot_sent(message.target, arrived=False)
                self.pump(sender)
            return
        target.raft.receive(message, self.now)
        self.pump(target)
        if isinstance(message, InstallSnapshot) and sender.raft is not None:
            sender.raft.snapshot_sent(message.target, arrived=True)
            self.pump(sender)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(200_000):
            if self.now >= end:
                return
            self.step()
        raise AssertionError("too many steps: a storm")

    def leader(self) -> Machine | None:
        leading = [m for m in self.machines.values() if m.raft is not None and m.raft.leads]
        return max(leading, key=lambda m: m.raft.term if m.raft else 0, default=None)

    def wait_leader(self, seconds: float = 20.0) -> Machine:
        end = self.now + seconds
        while self.now < end:
            self.step()
            if (leader := self.leader()) is not None:
                return leader
        raise AssertionError("no leader")

    def propose(self, data: bytes) -> None:
        for machine in self.machines.values():
            if machine.raft is not None and machine.raft.role is Role.LEADER:
                try:
                    machine.raft.propose(data)
                except (NotLeading, TooMuchUncommitted):
                    continue
                self.pump(machine)

    def read(self, id: str) -> None:
        machine = self.machines[id]
        if machine.raft is not None:
            self.count += 1
            self.read_floor[self.count] = max(self.committed, default=0)
            machine.raft.read(self.count, self.now)
            self.pump(machine)

    def take_snapshot(self, id: str, trailing: int) -> None:
        machine = self.machines[id]
        if machine.raft is not None and machine.applied_index > (machine.snapshot.index if machine.snapshot else 0):
            meta: SnapshotMeta = machine.raft.meta_at(machine.applied_index)
            machine.snapshot, machine.snapshot_state = meta, tuple(machine.applied)
            machine.raft.snapshot_taken(meta, trailing)
            machine.entries = [entry for entry in machine.entries if entry.index > meta.index - trailing]
            self.pump(machine)

    def change(self, configuration: Configuration) -> bool:
        leader = self.leader()
        if leader is None or leader.raft is None:
            return False
        try:
            leader.raft.change_configuration(configuration, self.now)
        except (ChangeRefused, NotLeading):
            return False
        self.pump(leader)
        return True
