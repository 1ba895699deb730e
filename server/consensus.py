"""RaftConsensus: the one driver of the Raft core. It gives it time and messages, and performs its effects.

All of the core runs on the event loop; what blocks (writes, fsyncs, snapshots) runs in two threads, one for the log
(`driver.writer`) and one for snapshots (`driver.snapshots`).
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from chowk.core.errors import DeadlineExceeded, NoLeader, OutcomeUnknown, TooLarge, TooManyRequests
from chowk.core.requests import RaftServer
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner
from chowk.core.server_options import RaftTuning, ServerOptions
from chowk.server.driver.applied import Applied
from chowk.server.driver.bootstrap import opened, refuse_foreign
from chowk.server.driver.proposals import Proposals
from chowk.server.driver.reads import Reads
from chowk.server.driver.snapshots import Snapshots
from chowk.server.driver.status import counters, servers
from chowk.server.driver.transport import NoTransport, Transport
from chowk.server.driver.writer import LogWriter
from chowk.server.port import StateMachine
from chowk.server.raft.core import Raft
from chowk.server.raft.effects import Effects
from chowk.server.raft.errors import BrokenInvariant, NotLeading, TooMuchUncommitted
from chowk.server.raft.messages import InstallSnapshot, Message
from chowk.server.raft.records import Configuration, Entry, EntryKind, Member, SnapshotMeta
from chowk.server.raft.settings import Settings
from chowk.server.storage.durable import DurableStorage
from chowk.server.storage.errors import StorageError
from chowk.server.storage.memory import MemoryStorage
from chowk.server.storage.port import Storage

log = structlog.get_logger("chowk.consensus")
ENTRY_BYTES_MAX: Final = 8 * 1024 * 1024
STOP_TIMEOUT_S: Final = 5.0
START_TIMEOUT_S: Final = 60.0


class RaftConsensus:
    """Implements server.port.Consensus. `bootstrap` is the configuration of a new cluster, used on an empty folder only.

    `on_failure` is called once, on the loop, when the storage fails: nothing can be written any more.
    """

    def __init__(
        self,
        machine: StateMachine,
        storage: Storage,
        member: Member,
        bootstrap: Configuration,
        clock: Clock,
        rng: random.Random,
        *,
        tuning: RaftTuning | None = None,
        settings: Settings | None = None,
        transport: Transport | None = None,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._machine = machine
        self._storage = storage
        self._member = member
        self._bootstrap = bootstrap
        self._clock = clock
        self._rng = rng
        self._tuning = tuning or RaftTuning()
        self._settings = settings or Settings()
        self._transport = transport or NoTransport()
        self._on_failure = on_failure
        self._raft: Raft | None = None
        self._tasks = TaskOwner("consensus", lambda _task, error: self._fail(error))
        self._writer = LogWriter(storage, self._tasks, self._written, self._restore, self._fail)
        self._snapshots = Snapshots(storage, self._tuning, clock)
        self._proposals = Proposals()
        self._reads = Reads()
        self._applied = Applied()
        self._timer_changed = asyncio.Event()
        self._pump_scheduled = False
        self._receiving_snapshot = False
        self._stopping = False
        self._closed = False
        self._failure: BaseException | None = None
        self._announced = False
        self._callbacks: list[Callable[[bool], None]] = []

    # Start and stop.

    async def start(self) -> None:
        """Recover from disk and take part; a sole voter leads and has applied its whole log when this returns."""
        restored = await self._writer.call(lambda: opened(self._storage, self._bootstrap))
        self._restore()
        self._snapshots.log_bytes = sum(entry.size for entry in restored.entries if entry.index > self.applied_index)
        raft = Raft(self._member.id, restored, self._settings, self._rng, self._clock.now())
        if self._bootstrap.voters == (self._member.id,):
            refuse_foreign(raft.configuration, self._member)
        self._raft = raft
        self._tasks.spawn(self._keep_time(), "timer")
        self._pump()
        if self._raft.configuration.voters == (self._member.id,):
            await self._until_leading()

    def _restore(self) -> None:
        snapshot = self._storage.read_snapshot()
        if snapshot is not None:
            meta, chunks = snapshot
            self._machine.thaw(chunks)()
            self._applied.index = meta.index

    async def _until_leading(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not self._announced and self._failure is None:
                    await self._applied.reach(self.applied_index + 1)
        except TimeoutError as error:
            raise StorageError(
                f"the log could not be read and written in {START_TIMEOUT_S:g} s: see whether the disk is slow or hangs"
            ) from error
        except NoLeader:
            log.debug("the start failed")
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """Write what is pending, answer who waits, and let go of the disk."""
        if self._stopping:
            return
        self._stopping = True
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                while self._failure is None and self._announced and self.applied_index < self._core.last_index:
                    await self._applied.reach(self._core.last_index)
        except (TimeoutError, NoLeader):
            log.warning("stopped before all proposals were written", waiting=len(self._proposals))
        self._closed = True
        await self._tasks.close()
        await self._snapshots.close()
        await self._writer.close()
        self._announce(False)
        self._fail_waiters(OutcomeUnknown("the server stopped"))

    @property
    def _core(self) -> Raft:
        if self._raft is None:
            raise NoLeader("the server has not started")
        return self._raft

    # The port.

    async def propose(self, entry: bytes, *, timeout_s: float) -> object:
        """Replicate an entry; its apply's result, after it is durable. See server.port for the errors."""
        if len(entry) > ENTRY_BYTES_MAX:
            raise TooLarge(f"an entry may have {ENTRY_BYTES_MAX} bytes; this one has {len(entry)}")
        if self._stopping or self._failure is not None or not self._core.leads:
            raise NoLeader
        self._proposals.check_room()
        try:
            index = self._core.propose(entry)
        except NotLeading as error:
            raise NoLeader from error
        except TooMuchUncommitted as error:
            raise TooManyRequests(f"too many writes: {error}") from error
        self._schedule()
        return await self._proposals.result(index, self._core.term, timeout_s)

    async def read_barrier(self, *, timeout_s: float) -> None:
        """Return when everything acknowledged before the call is applied here."""
        if self._stopping or self._failure is not None:
            raise NoLeader
        core = self._core
        context, index = self._reads.begin()
        try:
            core.read(context, self._clock.now())
            self._schedule()
            async with asyncio.timeout(timeout_s):
                await self._applied.reach(await index)
        except TimeoutError as error:
            raise DeadlineExceeded(f"no majority confirmed the read in {timeout_s:g} s") from error
        finally:
            self._reads.end(context)

    @property
    def is_leader(self) -> bool:
        """Whether this server leads, its own term's first entry applied."""
        return self._announced

    @property
    def leader(self) -> str:
        """The leader's address, "" when unknown."""
        if self._raft is None or self._failure is not None:
            return ""
        member = self._raft.configuration.member(self._raft.leader)
        return member.address if member is not None else ""

    @property
    def applied_index(self) -> int:
        """The last index the state machine has."""
        return self._applied.index

    @property
    def last_contact_s(self) -> float:
        """Seconds since the leader was heard; 0 on the leader."""
        if self._announced or self._raft is None:
            return 0.0
        return min(self._clock.now() - self._raft.leader_contact_s, float(1 << 31))

    def configuration(self) -> tuple[int, tuple[RaftServer, ...]]:
        """The membership in force and the index of its entry."""
        return self._core.configuration_index, servers(self._core)

    def on_leadership(self, callback: Callable[[bool], None]) -> None:
        """Call back with True when this server begins to lead, False when it ends."""
        self._callbacks.append(callback)

    def stats(self) -> dict[str, str]:
        """Counters under Consul's names."""
        if self._raft is None:
            return {"state": "Starting"}
        failed = self._failure is not None
        known = counters(self._raft, self.applied_index, self.last_contact_s, failed=failed)
        return {**known, "proposals_waiting": str(len(self._proposals))}

    # The loop: time and messages in, effects out.

    def receive(self, message: Message) -> None:
        """A message of another server. InstallSnapshot: see `receive_snapshot`."""
        if self._raft is None or self._closed or self._failure is not None:
            return
        try:
            self._raft.receive(message, self._clock.now())
        except BrokenInvariant as error:
            self._fail(error)
            return
        self._schedule()

    async def receive_snapshot(self, message: InstallSnapshot, chunks: Iterable[bytes]) -> None:
        """A snapshot of another server, all its bytes there. It is durable before the core hears of it. StorageError.

        One that comes while another is on its way to the state machine is dropped: its bytes would be taken for the other's.
        """
        if self._receiving_snapshot or self._closed or self._failure is not None:
            return
        self._receiving_snapshot = True
        try:
            if message.meta.index > self._core.commit_index:
                await self._snapshots.save(message.meta, lambda: chunks)
            self.receive(message)
            if self._core.snapshot == message.meta:
                await self._applied.reach(message.meta.index)
        except StorageError as error:
            self._fail(error)
            raise
        finally:
            self._receiving_snapshot = False

    async def _keep_time(self) -> None:
        while self._failure is None:
            deadline = self._core.next_deadline()
            if deadline is None:
                self._timer_changed.clear()
                await self._timer_changed.wait()
                continue
            await self._clock.sleep(min(max(0.0, deadline - self._clock.now()), self._settings.heartbeat_s))
            self._core.handle_timer(self._clock.now())
            self._pump()

    def _schedule(self) -> None:
        """Pump once, when all that runs now on the loop has had its say: what is proposed together is written together."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        if self._failure is not None or self._closed:
            return
        try:
            effects = self._core.take_effects(self._clock.now())
            self._perform(effects)
        except Exception as error:  # noqa: BLE001 (an outer edge: an entry half applied must stop everything)
            self._fail(error)
            return
        if self._core.next_deadline() is not None:
            self._timer_changed.set()
        if self._core.has_more:
            self._schedule()

    def _perform(self, effects: Effects) -> None:
        for message in effects.messages:
            if isinstance(message, InstallSnapshot):
                self._send_snapshot(message)
            else:
                self._transport.send(message)
        self._writer.write(effects.persists)
        self._apply(effects.committed)
        self._reads.answer(effects.reads)
        self._announce(self._core.leads and self.applied_index >= self._core.term_start)
        self._applied.wake()
        self._consider_snapshot()

    def _send_snapshot(self, message: InstallSnapshot) -> None:
        """The newest there is, which may be newer than the one the core knows: its bytes go with its own meta."""

        def ended(arrived: bool) -> None:
            self._core.snapshot_sent(message.target, arrived=arrived)
            self._schedule()

        snapshot = self._storage.read_snapshot()
        if snapshot is None:
            ended(False)
            return
        meta, chunks = snapshot
        self._transport.send_snapshot(msgspec.structs.replace(message, meta=meta), chunks, ended)

    def _written(self, sequence: int) -> None:
        self._core.persisted(sequence, self._clock.now())
        self._pump()

    def _apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            result: object = None
            if entry.kind is EntryKind.COMMAND:
                result = self._machine.apply(entry.index, entry.data)
            self._applied.index = entry.index
            self._snapshots.log_bytes += entry.size
            self._proposals.applied(entry, result)

    def _announce(self, leading: bool) -> None:
        if leading != self._announced:
            self._announced = leading
            log.info("leadership", leading=leading, term=self._core.term)
            for callback in self._callbacks:
                callback(leading)
            if not leading:
                self._fail_waiters(OutcomeUnknown("leadership was lost before the write was acknowledged"))

    def _fail(self, error: BaseException) -> None:
        """The disk, or a promise of Raft's, is broken: nothing is retried, nothing more is acknowledged."""
        if self._failure is None:
            self._failure = error
            log.error("consensus stopped", error=str(error))
            self._announce(False)
            self._fail_waiters(OutcomeUnknown(f"the server's storage failed: {error}"))
            if self._on_failure is not None:
                self._on_failure(error)

    def _fail_waiters(self, error: OutcomeUnknown) -> None:
        self._proposals.fail(error)
        self._reads.fail()
        self._applied.fail()

    # Snapshots.

    def _consider_snapshot(self) -> None:
        snapshot = self._core.snapshot
        if not self._stopping and self._snapshots.is_due(snapshot.index if snapshot else 0, self.applied_index):
            self._snapshots.begin()
            meta = self._core.meta_at(self.applied_index)
            self._tasks.spawn(self._take_snapshot(meta, self._machine.snapshot()), "snapshot")

    async def _take_snapshot(self, meta: SnapshotMeta, chunks: Callable[[], Iterable[bytes]]) -> None:
        try:
            await self._snapshots.take(meta, chunks)
            compacted = self._core.snapshot_taken(meta, self._tuning.trailing_logs)
            await self._writer.call(lambda: self._storage.compact(compacted))
        except StorageError as error:
            self._fail(error)


def make_consensus(
    options: ServerOptions,
    machine: StateMachine,
    clock: Clock,
    rng: random.Random,
    on_failure: Callable[[BaseException], None] | None = None,
) -> RaftConsensus:
    """The consensus of a server that is a cluster of one, in `<data_dir>/server/raft`, or in memory. By default a
    failed disk ends the process (SIGTERM to itself)."""
    member = Member(options.node_id, options.address, options.node_name)
    factor = options.raft.raft_multiplier
    settings = Settings(election_timeout_s=1.0 * factor, heartbeat_s=0.15 * factor)
    storage: Storage = (
        DurableStorage(Path(options.data_dir) / "server" / "raft") if options.data_dir else MemoryStorage()
    )

    def end_process(_error: BaseException) -> None:
        """A server that cannot write is of no use: let main stop it, so that the agent starts it again or says why not."""
        signal.raise_signal(signal.SIGTERM)

    return RaftConsensus(
        machine,
        storage,
        member,
        Configuration((member,)),
        clock,
        rng,
        tuning=options.raft,
        settings=settings,
        on_failure=on_failure or end_process,
    )
