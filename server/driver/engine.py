"""Engine: the loop around the Raft core. Time and messages go in; its effects are performed: write, send, apply, answer.

All of the core runs on the event loop; what blocks (writes, fsyncs, snapshots) runs in two threads, one for the log
(`writer`) and one for snapshots (`snapshots`). Made by `server.consensus`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import msgspec
import structlog

from chowk.core.errors import NoLeader, OutcomeUnknown
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner
from chowk.core.server_options import RaftTuning
from chowk.server.driver.applied import Applied
from chowk.server.driver.news import HeldNews
from chowk.server.driver.proposals import Proposals
from chowk.server.driver.reads import Reads
from chowk.server.driver.snapshots import Snapshots
from chowk.server.driver.transport import NoTransport, Transport
from chowk.server.driver.writer import LogWriter
from chowk.server.port import StateMachine
from chowk.server.raft.core import Raft
from chowk.server.raft.effects import Effects
from chowk.server.raft.errors import BrokenInvariant
from chowk.server.raft.messages import InstallSnapshot, Message
from chowk.server.raft.records import Configuration, Entry, EntryKind, Restored, SnapshotMeta
from chowk.server.raft.settings import Settings
from chowk.server.storage.errors import StorageError
from chowk.server.storage.port import Storage
from chowk.server.storage.transfers import SnapshotSink

log = structlog.get_logger("chowk.consensus")


class Engine:
    """`begin` with what storage restored; `transport` may be set before. `on_failure` is called once, on the loop."""

    def __init__(
        self,
        id: str,
        machine: StateMachine,
        storage: Storage,
        clock: Clock,
        rng: random.Random,
        settings: Settings,
        tuning: RaftTuning,
        on_failure: Callable[[BaseException], None] | None,
    ) -> None:
        self.id = id
        self.machine = machine
        self.storage = storage
        self.clock = clock
        self.settings = settings
        self.transport: Transport = NoTransport()
        self._news = HeldNews(lambda message: self.transport.send(message), lambda: self.transport.flush())
        self.tasks = TaskOwner("consensus", lambda _task, error: self.fail(error))
        self.writer = LogWriter(storage, self.tasks, self._written, self._installed, self.fail)
        self.snapshots = Snapshots(storage, tuning, clock)
        self.proposals = Proposals()
        self.reads = Reads()
        self.applied = Applied()
        self.failure: BaseException | None = None
        self.leading = False
        """Whether this server leads, its own term's first entry applied."""
        self.callbacks: list[Callable[[bool], None]] = []
        self.stopping = False
        self._rng = rng
        self._tuning = tuning
        self._on_failure = on_failure
        self._raft: Raft | None = None
        self._timer_changed = asyncio.Event()
        self._pump_scheduled = False
        self._configuration: Configuration | None = None
        self._replacements: dict[SnapshotMeta, Callable[[], None]] = {}
        self._deaf = False
        self._closed = False

    # Begin and end.

    def begin(self, restored: Restored) -> None:
        """Take part, from what storage holds."""
        self.snapshots.log_bytes = sum(entry.size for entry in restored.entries if entry.index > self.applied.index)
        first = self._raft is None
        self._raft = Raft(self.id, restored, self.settings, self._rng, self.clock.now())
        if first:
            self.tasks.spawn(self._keep_time(), "timer")
        self._pump()

    async def begin_again(self, restore: Callable[[], Restored]) -> None:
        """A blank server becomes part of a new cluster: `restore` writes, in the log's thread, what it begins with."""
        self._deaf = True
        try:
            await self.writer.idle()
            restored = await self.writer.call(restore)
        except StorageError as error:
            self.fail(error)
            raise
        finally:
            self._deaf = False
        self.begin(restored)

    async def close(self) -> None:
        """End everything; what waits is answered."""
        self._closed = True
        self.writer.stop()
        await self.tasks.close()
        await self.snapshots.close()
        await self.writer.close()
        self._announce(False)
        self.fail_waiters(OutcomeUnknown("the server stopped"))

    @property
    def core(self) -> Raft:
        """The core. NoLeader before the start."""
        if self._raft is None:
            raise NoLeader("the server has not started")
        return self._raft

    @property
    def has_begun(self) -> bool:
        """Whether there is a core, on a disk that works."""
        return self._raft is not None and self.failure is None and not self._closed

    @property
    def is_blank(self) -> bool:
        """Whether this server was never part of a cluster: it has no log, and knows no member."""
        return self._raft is not None and not self._raft.configuration.members and not self._raft.last_index

    # Time and messages in, effects out.

    def receive(self, message: Message) -> None:
        """A message of another server. InstallSnapshot: see `install`."""
        if self._raft is None or self._closed or self._deaf or self.failure is not None:
            return
        try:
            self._raft.receive(message, self.clock.now())
        except BrokenInvariant as error:
            self.fail(error)
            return
        self.schedule()

    async def _keep_time(self) -> None:
        while self.failure is None:
            deadline = self.core.next_deadline()
            if deadline is None:
                self._timer_changed.clear()
                await self._timer_changed.wait()
                continue
            await self.clock.sleep(min(max(0.0, deadline - self.clock.now()), self.settings.heartbeat_s))
            if not self._deaf:
                self.core.handle_timer(self.clock.now())
                self._pump()

    def schedule(self) -> None:
        """Pump once, when all that runs now on the loop has had its say: what is proposed together is written together."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        if self.failure is not None or self._closed or self._deaf:
            return
        core = self.core
        try:
            self._perform(core, core.take_effects(self.clock.now()))
        except Exception as error:  # noqa: BLE001 (an outer edge: an entry half applied must stop everything)
            self.fail(error)
            return
        if core.next_deadline() is not None:
            self._timer_changed.set()
        if core.has_more:
            self.schedule()

    def _perform(self, core: Raft, effects: Effects) -> None:
        if core.configuration is not self._configuration:
            self._configuration = core.configuration
            self.transport.update(core.configuration)
        for message in effects.messages:
            if isinstance(message, InstallSnapshot):
                self.tasks.spawn(self._send_snapshot(message), "send-snapshot")
            else:
                self._news.pass_on(message)
        self.transport.flush()
        self.writer.write(effects.persists)
        self._apply(effects.committed)
        self.reads.answer(effects.reads)
        self._announce(core.leads and self.applied.index >= core.term_start)
        self.applied.wake()
        self._consider_snapshot()

    def _written(self, sequence: int) -> None:
        self.core.persisted(sequence, self.clock.now())
        self._pump()

    def _apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            result: object = None
            if entry.kind is EntryKind.COMMAND:
                result = self.machine.apply(entry.index, entry.data)
            self.applied.index = entry.index
            self.snapshots.log_bytes += entry.size
            self.proposals.applied(entry, result)

    def _announce(self, leading: bool) -> None:
        if leading != self.leading:
            self.leading = leading
            log.info("leadership", leading=leading, term=self.core.term)
            for callback in self.callbacks:
                callback(leading)
            if not leading:
                self.fail_waiters(OutcomeUnknown("leadership was lost before the write was acknowledged"))

    def fail(self, error: BaseException) -> None:
        """The disk, or a promise of Raft's, is broken: nothing is retried, nothing more is acknowledged."""
        if self.failure is None:
            self.failure = error
            log.error("consensus stopped", error=str(error))
            self._announce(False)
            self.fail_waiters(OutcomeUnknown(f"the server has to stop: {error}"))
            if self._on_failure is not None:
                self._on_failure(error)

    def fail_waiters(self, error: OutcomeUnknown) -> None:
        """Answer everyone who waits."""
        self.proposals.fail(error)
        self.reads.fail()
        self.applied.fail()

    # Snapshots: taken, sent, received.

    def _consider_snapshot(self) -> None:
        snapshot = self.core.snapshot
        if not self.stopping and self.snapshots.is_due(snapshot.index if snapshot else 0, self.applied.index):
            self.snapshots.begin()
            meta = self.core.meta_at(self.applied.index)
            self.tasks.spawn(self._take_snapshot(meta, self.machine.snapshot()), "snapshot")

    async def _take_snapshot(self, meta: SnapshotMeta, chunks: Callable[[], Iterable[bytes]]) -> None:
        try:
            await self.snapshots.take(meta, chunks)
            compacted = self.core.snapshot_taken(meta, self._tuning.trailing_logs)
            await self.writer.call(lambda: self.storage.compact(compacted))
        except StorageError as error:
            self.fail(error)

    async def _send_snapshot(self, message: InstallSnapshot) -> None:
        """The newest there is, which may be newer than the one the core knows: its bytes go with its own meta."""
        arrived = False
        try:
            source = await self.snapshots.call(self.storage.open_snapshot)
            if source is not None:
                try:
                    arrived = await self.transport.send_snapshot(
                        msgspec.structs.replace(message, meta=source.meta), source
                    )
                finally:
                    await self.snapshots.call(source.close)
        except StorageError as error:
            self.fail(error)
            return
        self.core.snapshot_sent(message.target, arrived=arrived)
        self.schedule()

    async def install(self, message: InstallSnapshot, sink: SnapshotSink) -> bool:
        """A snapshot of another server, all its bytes in `sink`. It is read before anything is changed, and durable before
        the core hears of it. Whether this server has that state now. ValueError when it is no snapshot; StorageError.

        One at a time: the caller sees to that."""
        if not self.has_begun:
            return False
        meta = message.meta
        try:
            if meta.index <= self.core.commit_index:
                await self.snapshots.call(sink.discard)
            else:
                swap = await self.snapshots.call(partial(_thaw, self.machine, sink))
                await self.snapshots.call(sink.finish)
                self._replacements[meta] = swap
        except StorageError as error:
            self.fail(error)
            raise
        self.receive(message)
        if self.core.snapshot == meta:
            await self.applied.reach(meta.index)
        self._replacements.pop(meta, None)
        return self.applied.index >= meta.index

    def _installed(self, meta: SnapshotMeta) -> None:
        """The log begins after `meta` now: so does the state machine."""
        swap = self._replacements.pop(meta, None)
        if swap is None:
            raise BrokenInvariant(f"the snapshot of entry {meta.index} was installed, but never read")
        swap()
        self.applied.index = meta.index
        self.applied.wake()


def _thaw(machine: StateMachine, sink: SnapshotSink) -> Callable[[], None]:
    """Read all of a snapshot: what checks it is at its end."""
    chunks = sink.chunks()
    swap = machine.thaw(chunks)
    _exhaust(chunks)
    return swap


def _exhaust(chunks: Iterator[bytes]) -> None:
    for _chunk in chunks:
        raise ValueError("the snapshot goes on behind its end")
