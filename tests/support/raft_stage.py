"""What the scripts of `raft_script` are played on: servers, network, disks; what Raft promises is checked at each step."""

from __future__ import annotations

import random

from chowk.server.raft.core import Raft
from chowk.server.raft.effects import Persist
from chowk.server.raft.messages import InstallSnapshot, Message
from chowk.server.raft.records import Configuration, Entry, EntryKind, Restored
from chowk.server.raft.state import Role
from support.raft_words import said

STEPS_MAX = 20_000


class Patience(random.Random):
    """Draws always the same, so that a script decides who stands first."""

    def __init__(self, factor: float) -> None:
        super().__init__(1)
        self.factor = factor

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.factor


class Node:
    """A server: its disk, which a crash leaves, and its core, which a crash takes."""

    def __init__(self, id: str, restored: Restored, patience: float) -> None:
        self.id = id
        self.hard_state, self.snapshot, self.entries = restored.hard_state, restored.snapshot, list(restored.entries)
        self.patience = Patience(patience)
        self.raft: Raft | None = None
        self.writes: list[Persist] = []
        self.is_slow = self.is_paused = False
        self.applied: list[str] = []
        self.known = ("", 0, "")
        self.commit = 0

    @property
    def core(self) -> Raft:
        if self.raft is None:
            raise ValueError(f"{self.id} is down")
        return self.raft

    def write(self, persist: Persist) -> None:
        if persist.hard_state is not None:
            self.hard_state = persist.hard_state
        if persist.install is not None:
            self.snapshot, self.entries = persist.install, []
        if persist.entries:
            first = persist.entries[0].index
            self.entries = [entry for entry in self.entries if entry.index < first] + list(persist.entries)


class Stage:
    """A cluster, at one moment; `out` is what it has to say of the last step."""

    def __init__(self) -> None:
        self.now = 100.0
        self.nodes: dict[str, Node] = {}
        self.flying: list[Message] = []
        self.cut: set[tuple[str, str]] = set()
        self.held: set[tuple[str, str]] = set()
        self.held_kinds: set[tuple[str, str, type]] = set()
        self.out: list[str] = []
        self.members = Configuration()
        self.is_lone = False
        self.leaders: dict[int, str] = {}
        self.chosen: dict[int, Entry] = {}
        self.states: dict[int, list[str]] = {0: []}
        self.floors: list[int] = []

    def pump(self, node: Node) -> None:
        """Take and perform a server's effects until there are none."""
        for _ in range(STEPS_MAX):
            if node.raft is None:
                break
            effects = node.raft.take_effects(self.now)
            self._check(node)
            if effects.is_empty:
                break
            self.flying += effects.messages
            node.writes += effects.persists
            for entry in effects.committed:
                self._apply(node, entry)
            for read in effects.reads:
                if read.index is not None and read.index < self.floors[read.context]:
                    raise AssertionError(f"{node.id} would serve a stale read")
                what = f"sees {read.index}" if read.index is not None else "refused: ask again"
                self.out.append(f"read {read.context} at {node.id} {what}")
            if not node.is_slow:
                self.finish_writes(node, len(node.writes))

    def finish_writes(self, node: Node, count: int) -> None:
        for persist in node.writes[:count]:
            node.writes.remove(persist)
            if persist.install is not None:
                node.applied = list(self.states[persist.install.index])
            node.write(persist)
            node.core.persisted(persist.sequence, self.now)

    def _apply(self, node: Node, entry: Entry) -> None:
        if entry.kind is EntryKind.COMMAND:
            node.applied.append(entry.data.decode())
        if self.chosen.setdefault(entry.index, entry) != entry:
            raise AssertionError(f"two entries are committed at {entry.index}")
        if self.states.setdefault(entry.index, list(node.applied)) != node.applied:
            raise AssertionError(f"{node.id} has another state at {entry.index}")
        if entry not in node.entries:
            raise AssertionError(f"{node.id} applied {entry.index} before it was durable")

    def _check(self, node: Node) -> None:
        raft = node.core
        if raft.role is Role.LEADER and self.leaders.setdefault(raft.term, node.id) != node.id:
            raise AssertionError(f"two leaders in term {raft.term}")
        known = (str(raft.role), raft.term, raft.leader)
        if known == node.known:
            return
        before, node.known = node.known, known
        if before[0] == Role.LEADER and raft.role is not Role.LEADER:
            self.out.append(f"{node.id} steps down")
        match raft.role:
            case Role.LEADER:
                self.out.append(f"{node.id} leads term {raft.term}")
            case Role.CANDIDATE:
                self.out.append(f"{node.id} stands in term {raft.term}")
            case Role.PRE_CANDIDATE:
                self.out.append(f"{node.id} asks whether to stand in term {raft.term + 1}")
            case Role.FOLLOWER if raft.leader:
                self.out.append(f"{node.id} follows {raft.leader} in term {raft.term}")
            case Role.FOLLOWER if before[1] != raft.term and before[1]:
                self.out.append(f"{node.id} is in term {raft.term}")

    def settle(self) -> None:
        """Deliver all that may be delivered."""
        for node in self.nodes.values():
            self.pump(node)
        for _ in range(STEPS_MAX):
            ready = next((message for message in self.flying if self._may_go(message)), None)
            if ready is None:
                return
            self.flying.remove(ready)
            self.deliver(ready)
        raise AssertionError("a storm of messages")

    def _may_go(self, message: Message) -> bool:
        target = self.nodes.get(message.target)
        link = (message.sender, message.target)
        is_held = link in self.held or (*link, type(message)) in self.held_kinds
        return not is_held and not (target is not None and target.is_paused)

    def deliver(self, message: Message) -> None:
        """One message arrives, or is lost."""
        target, sender = self.nodes.get(message.target), self.nodes.get(message.sender)
        if self.is_lone and target is None:
            self.out.append(said(message))
            return
        arrives = target is not None and target.raft is not None and (message.sender, message.target) not in self.cut
        if target is not None and arrives:
            target.core.receive(message, self.now)
            self.pump(target)
        if isinstance(message, InstallSnapshot) and sender is not None and sender.raft is not None:
            self.out.append(f"{said(message)}{'' if arrives else ' is lost'}")
            sender.raft.snapshot_sent(message.target, arrived=arrives)
            self.pump(sender)
