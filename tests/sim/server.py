"""One simulated server: the core, and what `driver.engine` does around it, in simulated time.

Its threads are delays: one write of the log at a time (what comes meanwhile is written together), one snapshot at a time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from sim.agenda import LocalClock
from sim.disk import SimulatedDisk
from sim.machine import Command, Register
from sim.waiters import REFUSED, Answer, Outcome, Waiters

from chowk.server.raft.core import Raft
from chowk.server.raft.effects import Effects, Persist
from chowk.server.raft.errors import NotLeading, TooMuchUncommitted
from chowk.server.raft.messages import InstallSnapshot, Message
from chowk.server.raft.records import Entry, EntryKind, SnapshotMeta
from chowk.server.raft.settings import Settings
from chowk.server.storage.errors import Corrupt, StorageError

if TYPE_CHECKING:
    from sim.world import World

CHUNK_BYTES = 64


class Server:
    """`raft` is None while it is down."""

    def __init__(self, world: World, id: str, disk: SimulatedDisk, settings: Settings, clock: LocalClock) -> None:
        self.world = world
        self.id = id
        self.disk = disk
        self.settings = settings
        self.clock = clock
        self.raft: Raft | None = None
        self.machine = Register()
        self.life = 0
        self.paused = False
        self.is_ruined = False
        """Its disk rotted: it never starts again."""
        self.is_retired = False
        """It was removed from the cluster, and its data thrown away."""
        self.slowness = 1.0
        self.disk_error = 0
        """The errno that the next write meets."""
        self._postponed: list[tuple[int, Callable[..., None], tuple[Any, ...]]] = []
        self._timer_s = float("inf")
        self._reset()

    def _reset(self) -> None:
        self._waiting: list[Persist] = []
        self._writing: list[Persist] = []
        self._saving: tuple[SnapshotMeta, tuple[bytes, ...]] | None = None
        self._taking = False
        self._receiving = False
        self._received: dict[SnapshotMeta, tuple[bytes, ...]] = {}
        self._waiters = Waiters()
        self._announced = False
        self._timer_s = float("inf")

    # Process.

    def start(self) -> None:
        """Read the disk and take part."""
        self.life += 1
        self._reset()
        try:
            restored = self.disk.open()
        except Corrupt:
            self.is_ruined = True
            self.world.note(self.id, "ruined")
            return
        self.disk_error = 0
        self.machine = Register()
        self.raft = Raft(self.id, restored, self.settings, random.Random(self.world.rng.random()), self.clock.now())
        self.world.note(self.id, "start", restored.hard_state, self.raft.last_index)
        self.world.invariants.started(self)
        self._load()
        self.pump()

    def kill(self, *, power_lost: bool) -> None:
        """The process is gone: what it was writing is torn."""
        if self.raft is None:
            return
        self.world.note(self.id, "power" if power_lost else "kill")
        rng = self.world.rng
        if self._writing:
            self._tear(rng)
        if self._saving is not None:
            self.disk.tear_snapshot(*self._saving, rng)
        self._stop(power_lost=power_lost)

    def _tear(self, rng: random.Random) -> None:
        first = self._writing[0]
        if first.install is not None:
            if rng.random() < 0.4:
                self.disk.tear([Persist(0, first.hard_state)], rng)
                return
            self.disk.persist([Persist(0, first.hard_state)])
            self.disk.install(first.install)
        self.disk.tear(self._writing, rng)

    def _stop(self, *, power_lost: bool) -> None:
        self.raft = None
        self.life += 1
        self.paused = False
        self._postponed.clear()
        self.disk.end(self.world.rng, power_lost=power_lost)
        self._waiters.fail()
        self._reset()

    @property
    def is_writing(self) -> bool:
        """Whether a crash now would tear something."""
        return bool(self._writing) or self._saving is not None

    def resume(self) -> None:
        """After a pause everything that waited happens at once."""
        self.paused = False
        postponed, self._postponed = self._postponed, []
        for life, call, arguments in postponed:
            self._call(life, call, arguments)

    def after(self, delay_s: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call in a while, in this life only, and not during a pause."""
        self.world.agenda.after(delay_s, self._call, self.life, call, arguments)

    def _call(self, life: int, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if life != self.life or self.raft is None:
            return
        if self.paused:
            self._postponed.append((life, call, arguments))
            return
        call(*arguments)

    # In.

    def receive(self, message: Message) -> None:
        """A message arrived."""
        self._call(self.life, self._receive, (message,))

    def _receive(self, message: Message) -> None:
        self.world.note(self.id, "receive", message)
        self._core.receive(message, self.clock.now())
        self.pump()

    @property
    def _core(self) -> Raft:
        if self.raft is None:
            raise RuntimeError(f"{self.id} is down")
        return self.raft

    def propose(self, command: Command, answer: Answer) -> None:
        """A client's write came."""
        self._call(self.life, self._propose, (command, answer))

    def _propose(self, command: Command, answer: Answer) -> None:
        if not self._announced:
            answer(REFUSED)
            return
        try:
            index = self._core.propose(msgspec.msgpack.encode(command))
        except (NotLeading, TooMuchUncommitted):
            answer(REFUSED)
            return
        self._waiters.propose(index, self._core.term, answer)
        self.after(0.0, self.pump)

    def read(self, key: str, answer: Answer) -> None:
        """A client's read came: it must see what was acknowledged before."""
        self._call(self.life, self._read, (key, answer))

    def _read(self, key: str, answer: Answer) -> None:
        if self._announced and self.world.profile.sure_clocks and self._core.has_lease(self.clock.now()):
            # What is applied here is not enough: a follower may have shown what is committed and not applied here yet.
            self._reach(self._core.commit_index, lambda: answer(self._value(key)))
            return
        context = self.world.next_number()
        floor = self.world.invariants.committed_last

        def known(index: int | None) -> None:
            if index is None:
                answer(REFUSED)
                return
            self.world.invariants.read_index(self, index, floor)
            self._reach(index, lambda: answer(self._value(key)))

        self._waiters.read(context, known)
        self._core.read(context, self.clock.now())
        self.pump()

    def _value(self, key: str) -> Outcome:
        return Outcome(value=self.machine.registers.get(key, 0), index=self.machine.index)

    def read_stale(self, key: str, answer: Answer) -> None:
        """A client's read came that is content with what is here."""
        self._call(self.life, lambda: answer(self._value(key)), ())

    def _reach(self, index: int, then: Callable[[], None]) -> None:
        if self.machine.index >= index:
            then()
        else:
            self._waiters.reach(index, then)

    # Out.

    def pump(self) -> None:
        """Take the core's effects and perform them, until there are none."""
        while self.raft is not None:
            effects = self.raft.take_effects(self.clock.now())
            self._perform(effects)
            if self.raft is None or (effects.is_empty and not self.raft.has_more):
                break
        if self.raft is not None:
            self.world.invariants.check(self)
            self._consider_snapshot()
            self._set_timer()

    def _perform(self, effects: Effects) -> None:
        for message in effects.messages:
            self.world.note(self.id, "send", message)
            self.world.invariants.told(message)
            if isinstance(message, InstallSnapshot):
                self._send_snapshot(message)
            else:
                self.world.network.send(message, self.world.deliver)
        for persist in effects.persists:
            self.world.invariants.written(self, persist.entries)
        self._waiting += effects.persists
        self._write()
        for entry in effects.committed:
            self._apply(entry)
        self._waiters.answer_reads(effects.reads)
        self._announce()
        self._waiters.reached(self.machine.index)

    def _apply(self, entry: Entry) -> None:
        result = None
        self.machine.note(entry.index, entry.term, entry.kind, entry.data)
        if entry.kind is EntryKind.COMMAND:
            result = self.machine.apply(entry.index, entry.data)
        self.world.invariants.applied(self, entry)
        self._waiters.applied(entry, result)

    def _announce(self) -> None:
        leading = self._core.leads and self.machine.index >= self._core.term_start
        if leading != self._announced:
            self._announced = leading
            self.world.note(self.id, "leads" if leading else "leads no more", self._core.term)
            if not leading:
                self._waiters.fail()

    def _set_timer(self) -> None:
        deadline = self._core.next_deadline()
        if deadline is not None and deadline < self._timer_s:
            self._timer_s = deadline
            self.world.agenda.at(self.clock.global_time(deadline), self._call, self.life, self._timer, (deadline,))

    def _timer(self, deadline: float) -> None:
        if deadline != self._timer_s:
            return
        self._timer_s = float("inf")
        now = self.clock.now()
        due = self._core.next_deadline()
        if due is not None and now >= due:
            self._core.handle_timer(now)
            self.pump()
        else:
            self._set_timer()

    # The log's thread.

    def _write(self) -> None:
        if not self._waiting or self._writing or self.raft is None:
            return
        group = self._waiting
        # A snapshot of another server splits a group: see `driver.writer`.
        split = next(
            (place for place, persist in enumerate(group) if persist.install is not None and place > 0), len(group)
        )
        self._writing, self._waiting = group[:split], group[split:]
        self.after(self.world.rng.uniform(0.1, 1.0) * self.world.profile.fsync_s * self.slowness, self._written)

    def _written(self) -> None:
        group, self._writing = self._writing, []
        try:
            first = group[0]
            if self.disk_error:
                failing = group if first.install is None else [Persist(0, first.hard_state)]
                self.disk.fail(failing, self.world.rng, self.disk_error)
            if first.install is not None:
                self.disk.persist([Persist(0, first.hard_state)])
                self.disk.install(first.install)
                self._installed(first.install)
            self.disk.persist(group)
        except StorageError as error:
            self._fail(error)
            return
        self.world.note(self.id, "written", group[-1].sequence)
        self._core.persisted(group[-1].sequence, self.clock.now())
        self.pump()

    def _fail(self, error: StorageError) -> None:
        """Nothing is retried: the process ends. What was not durable for certain may be lost."""
        self.world.note(self.id, "disk failed", error.errno)
        self._stop(power_lost=True)

    def _load(self) -> None:
        """At a start: what the disk has."""
        snapshot = self.disk.read_snapshot()
        if snapshot is not None:
            meta, chunks = snapshot
            self._restore(meta, tuple(chunks))

    def _installed(self, meta: SnapshotMeta) -> None:
        """The log begins after `meta`: so does the state machine. The disk may have a newer one that the core refused."""
        self._restore(meta, self._received[meta])

    def _restore(self, meta: SnapshotMeta, chunks: tuple[bytes, ...]) -> None:
        state = self.machine.restore(chunks)
        self.world.note(self.id, "restored", meta.index)
        self.world.invariants.restored(self, meta, state)

    # Snapshots.

    def _consider_snapshot(self) -> None:
        snapshot = self._core.snapshot
        last = snapshot.index if snapshot is not None else 0
        if not self._taking and self._saving is None and self.machine.index - last >= self.world.profile.snapshot_every:
            self._taking = True
            meta = self._core.meta_at(self.machine.index)
            self.world.note(self.id, "takes snapshot", meta.index)
            self._save(meta, cut(self.machine.frozen()), self._taken)

    def _save(self, meta: SnapshotMeta, chunks: tuple[bytes, ...], then: Callable[[SnapshotMeta], None]) -> None:
        """The snapshots' thread; the caller makes sure that it is free."""
        self._saving = meta, chunks
        delay_s = self.world.rng.uniform(0.5, 5.0) * self.world.profile.fsync_s * self.slowness
        self.after(delay_s, self._saved, meta, chunks, then)

    def _saved(self, meta: SnapshotMeta, chunks: tuple[bytes, ...], then: Callable[[SnapshotMeta], None]) -> None:
        self._saving = None
        try:
            self.disk.save_snapshot(meta, chunks)
        except StorageError as error:
            self._fail(error)
            return
        then(meta)

    def _taken(self, meta: SnapshotMeta) -> None:
        self._taking = False
        compacted = self._core.snapshot_taken(meta, self.world.profile.trailing)
        self.disk.compact(compacted)
        self.pump()

    def _send_snapshot(self, message: InstallSnapshot) -> None:
        life = self.life

        def ended(arrived: bool) -> None:
            self._call(life, self._snapshot_ended, (message.target, arrived))

        snapshot = self.disk.read_snapshot()
        if snapshot is None:
            self.after(0.0, ended, False)
            return
        meta, chunks = snapshot
        sent = msgspec.structs.replace(message, meta=meta)
        self.world.send_snapshot(sent, tuple(chunks), ended)

    def _snapshot_ended(self, target: str, arrived: bool) -> None:
        self._core.snapshot_sent(target, arrived=arrived)
        self.pump()

    def receive_snapshot(
        self, message: InstallSnapshot, chunks: tuple[bytes, ...], ended: Callable[[bool], None]
    ) -> None:
        """A snapshot of another server, all its bytes there: see `driver.engine.install`."""
        if self.raft is None:
            ended(False)
            return
        self._call(self.life, self._receive_snapshot, (message, chunks, ended))

    def _receive_snapshot(
        self, message: InstallSnapshot, chunks: tuple[bytes, ...], ended: Callable[[bool], None]
    ) -> None:
        if self._receiving:
            ended(False)
            return
        self._receiving = True

        def saved(meta: SnapshotMeta) -> None:
            if message.meta.index > self._core.commit_index:
                self.world.invariants.snapshot_received(self)
            self._receive(message)
            ended(True)
            if self.raft is not None and self._core.snapshot == meta:
                self._reach(meta.index, lambda: self._end_receiving(meta))
            else:
                self._end_receiving(meta)

        if message.meta.index <= self._core.commit_index:
            saved(message.meta)
        else:
            self._received[message.meta] = chunks
            self._save_when_free(message.meta, chunks, saved)

    def _save_when_free(
        self, meta: SnapshotMeta, chunks: tuple[bytes, ...], then: Callable[[SnapshotMeta], None]
    ) -> None:
        if self._saving is not None:
            self.after(self.world.profile.fsync_s, self._save_when_free, meta, chunks, then)
        else:
            self._save(meta, chunks, then)

    def _end_receiving(self, meta: SnapshotMeta) -> None:
        self._receiving = False
        self._received.pop(meta, None)


def cut(data: bytes) -> tuple[bytes, ...]:
    """A snapshot's chunks."""
    return tuple(data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))
