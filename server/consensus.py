"""RaftConsensus: the one driver of the Raft core. It gives it time and messages, and performs its effects.

All of the core runs on the event loop; what blocks (writes, fsyncs, snapshots) runs in two threads, one for the log and
one for snapshots. While one group of proposals is written the next one gathers: that is the group commit.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

import structlog

from chowk.core.errors import DeadlineExceeded, NoLeader, OutcomeUnknown, TooLarge, TooManyRequests
from chowk.core.requests import RaftServer
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner
from chowk.core.server_options import RaftTuning, ServerOptions
from chowk.server.port import StateMachine
from chowk.server.raft.core import Raft
from chowk.server.raft.effects import Effects, Persist, ReadState
from chowk.server.raft.errors import NotLeading, TooMuchUncommitted
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
)  # fmt: skip
from chowk.server.raft.settings import Settings
from chowk.server.storage.durable import DurableStorage
from chowk.server.storage.errors import StorageError
from chowk.server.storage.memory import MemoryStorage
from chowk.server.storage.port import Storage

log = structlog.get_logger("chowk.consensus")
ENTRY_BYTES_MAX: Final = 8 * 1024 * 1024
PROPOSALS_MAX: Final = 16_384
"""Proposals that wait for their result; more are refused."""
SNAPSHOT_LOG_BYTES: Final = 64 * 1024 * 1024
"""This much log is reason for a snapshot before its number of entries is."""
STOP_TIMEOUT_S: Final = 5.0
START_TIMEOUT_S: Final = 60.0


class Transport(Protocol):
    """The way to the other servers; a cluster of one needs none. What comes in is handed to `RaftConsensus.receive`."""

    def send(self, message: Message) -> None:
        """Send, or drop: Raft does not mind."""
        ...

    def send_snapshot(
        self, message: InstallSnapshot, chunks: Iterable[bytes], ended: Callable[[bool], None], /
    ) -> None:
        """Send a snapshot with its bytes, and say on the loop whether they arrived."""
        ...


class NoTransport:
    """Of a cluster of one."""

    def send(self, message: Message) -> None:
        """There is nobody."""

    def send_snapshot(
        self, _message: InstallSnapshot, _chunks: Iterable[bytes], ended: Callable[[bool], None], /
    ) -> None:
        """There is nobody."""
        ended(False)


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
        self._writer = ThreadPoolExecutor(1, "raft-log")
        self._snapshotter = ThreadPoolExecutor(1, "raft-snapshot")
        self._writing = False
        self._to_write: list[Persist] = []
        self._pump_scheduled = False
        self._snapshotting = False
        self._stopping = False
        self._closed = False
        self._failure: BaseException | None = None
        self._announced = False
        self._callbacks: list[Callable[[bool], None]] = []
        self._proposals: dict[int, tuple[int, asyncio.Future[object]]] = {}
        self._reads: dict[int, asyncio.Future[int]] = {}
        self._read_count = 0
        self._applied = 0
        self._log_bytes = 0
        self._snapshot_time = clock.now()
        self._applied_waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._timer_changed = asyncio.Event()

    # Start and stop.

    async def start(self) -> None:
        """Recover from disk and take part; a sole voter leads and has applied its whole log when this returns."""
        loop = asyncio.get_running_loop()
        restored = await loop.run_in_executor(self._writer, self._storage.open)
        if restored.is_blank and self._bootstrap.members:
            first = Persist(0, HardState(max(1, restored.hard_state.term), restored.hard_state.vote), None,
                            (bootstrap_entry(self._bootstrap),))  # fmt: skip
            await loop.run_in_executor(self._writer, self._storage.persist, [first])
            restored = Restored(first.hard_state or HardState(), None, first.entries)
        if restored.snapshot is not None:
            self._machine.restore(self._storage.read_snapshot())
            self._applied = restored.snapshot.index
        self._log_bytes = sum(entry.size for entry in restored.entries if entry.index > self._applied)
        self._raft = Raft(self._member.id, restored, self._settings, self._rng, self._clock.now())
        self._tasks.spawn(self._keep_time(), "timer")
        self._pump()
        if self._raft.configuration.voters == (self._member.id,):
            await self._until_leading()

    async def _until_leading(self) -> None:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not self._announced:
                if self._failure is not None:
                    raise self._failure
                await self._until_applied(self._applied + 1)

    async def stop(self) -> None:
        """Write what is pending, answer who waits, and let go of the disk."""
        if self._stopping:
            return
        self._stopping = True
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                while self._failure is None and self._announced and self._applied < self._core.last_index:
                    await self._until_applied(self._core.last_index)
        except TimeoutError:
            log.warning("stopped before all proposals were written", waiting=len(self._proposals))
        self._closed = True
        await self._tasks.close()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._snapshotter, int)
        await loop.run_in_executor(self._writer, self._storage.close)
        self._writer.shutdown()
        self._snapshotter.shutdown()
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
        if len(self._proposals) >= PROPOSALS_MAX:
            raise TooManyRequests(f"{len(self._proposals)} writes wait already")
        try:
            index = self._core.propose(entry)
        except NotLeading as error:
            raise NoLeader from error
        except TooMuchUncommitted as error:
            raise TooManyRequests(f"too many writes: {error}") from error
        result: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._proposals[index] = (self._core.term, result)
        self._schedule()
        try:
            async with asyncio.timeout(timeout_s):
                return await result
        except TimeoutError as error:
            raise OutcomeUnknown(f"the write was not acknowledged in {timeout_s:g} s") from error
        finally:
            self._proposals.pop(index, None)

    async def read_barrier(self, *, timeout_s: float) -> None:
        """Return when everything acknowledged before the call is applied here."""
        if self._stopping or self._failure is not None:
            raise NoLeader
        self._read_count += 1
        context = self._read_count
        index: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reads[context] = index
        self._core.read(context, self._clock.now())
        self._schedule()
        try:
            async with asyncio.timeout(timeout_s):
                await self._until_applied(await index)
        except TimeoutError as error:
            raise DeadlineExceeded(f"no majority confirmed the read in {timeout_s:g} s") from error
        finally:
            self._reads.pop(context, None)

    async def _until_applied(self, index: int) -> None:
        if self._applied < index:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._applied_waiters.append((index, waiter))
            await waiter

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
        return self._applied

    @property
    def last_contact_s(self) -> float:
        """Seconds since the leader was heard; 0 on the leader."""
        if self._announced or self._raft is None:
            return 0.0
        return min(self._clock.now() - self._raft.leader_contact_s, float(1 << 31))

    def configuration(self) -> tuple[int, tuple[RaftServer, ...]]:
        """The membership in force and the index of its entry."""
        core = self._core
        return core.configuration_index, tuple(
            RaftServer(
                id=member.id,
                node=member.node,
                address=member.address,
                leader=member.id == core.leader,
                voter=member.voter,
            )
            for member in core.configuration.members
        )

    def on_leadership(self, callback: Callable[[bool], None]) -> None:
        """Call back with True when this server begins to lead, False when it ends."""
        self._callbacks.append(callback)

    def stats(self) -> dict[str, str]:
        """Counters under Consul's names."""
        if self._raft is None:
            return {"state": "Starting"}
        core = self._raft
        snapshot = core.snapshot
        return {
            "state": str(core.role) if self._failure is None else "Failed",
            "term": str(core.term),
            "applied_index": str(self._applied),
            "commit_index": str(core.commit_index),
            "fsm_pending": str(core.commit_index - self._applied),
            "last_contact": f"{self.last_contact_s * 1000:.0f}ms" if not self._announced else "0",
            "last_log_index": str(core.last_index),
            "last_log_term": str(core.last_term),
            "last_snapshot_index": str(snapshot.index if snapshot is not None else 0),
            "last_snapshot_term": str(snapshot.term if snapshot is not None else 0),
            "latest_configuration_index": str(core.configuration_index),
            "num_peers": str(max(0, len(core.configuration.voters) - 1)),
            "proposals_waiting": str(len(self._proposals)),
        }

    # The loop: time and messages in, effects out.

    def receive(self, message: Message) -> None:
        """A message of another server. InstallSnapshot: see `receive_snapshot`."""
        if self._raft is not None and not self._stopping and self._failure is None:
            self._raft.receive(message, self._clock.now())
            self._schedule()

    async def receive_snapshot(self, message: InstallSnapshot, chunks: Iterable[bytes]) -> None:
        """A snapshot of another server, all its bytes there. It is durable before the core hears of it. StorageError."""
        snapshot = self._core.snapshot
        if message.meta.index > max(self._core.commit_index, snapshot.index if snapshot is not None else 0):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._snapshotter, lambda: self._storage.save_snapshot(message.meta, chunks))
        self.receive(message)

    async def _keep_time(self) -> None:
        while True:
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
        self._to_write += effects.persists
        if self._to_write and not self._writing:
            self._writing = True
            self._tasks.spawn(self._write(), "write")
        self._apply(effects.committed)
        self._answer_reads(effects.reads)
        self._announce(self._core.leads and self._applied >= self._core.term_start)
        self._wake_applied()
        self._consider_snapshot()

    def _send_snapshot(self, message: InstallSnapshot) -> None:
        def ended(arrived: bool) -> None:
            self._core.snapshot_sent(message.target, arrived=arrived)
            self._schedule()

        self._transport.send_snapshot(message, self._storage.read_snapshot(), ended)

    async def _write(self) -> None:
        """Write, as one group, what gathered; and again while more gathered meanwhile."""
        loop = asyncio.get_running_loop()
        while self._to_write and self._failure is None:
            group, self._to_write = self._to_write, []
            try:
                await self._persist(loop, group)
            except StorageError as error:
                self._fail(error)
                return
            self._core.persisted(group[-1].sequence, self._clock.now())
            self._pump()
        self._writing = False

    async def _persist(self, loop: asyncio.AbstractEventLoop, group: Sequence[Persist]) -> None:
        """A group in order. A snapshot of another server splits it: what comes before it, itself, what comes after."""
        run: list[Persist] = []
        for persist in group:
            if persist.install is not None:
                await loop.run_in_executor(self._writer, self._storage.persist, run)
                run = []
                await loop.run_in_executor(self._writer, self._install_on_disk, persist.hard_state, persist.install)
                self._machine.restore(self._storage.read_snapshot())
                self._applied = persist.install.index
            run.append(persist)
        await loop.run_in_executor(self._writer, self._storage.persist, run)

    def _install_on_disk(self, hard_state: HardState | None, meta: SnapshotMeta) -> None:
        self._storage.persist([Persist(0, hard_state)])
        self._storage.install(meta)

    def _apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            result: object = None
            if entry.kind is EntryKind.COMMAND:
                result = self._machine.apply(entry.index, entry.data)
            self._applied = entry.index
            self._log_bytes += entry.size
            term, waiter = self._proposals.get(entry.index, (0, None))
            if waiter is not None and not waiter.done():
                if term == entry.term:
                    waiter.set_result(result)
                else:
                    waiter.set_exception(NoLeader("another leader's entry took this write's place"))

    def _answer_reads(self, reads: Sequence[ReadState]) -> None:
        for read in reads:
            waiter = self._reads.get(read.context)
            if waiter is not None and not waiter.done():
                if read.index is None:
                    waiter.set_exception(NoLeader())
                else:
                    waiter.set_result(read.index)

    def _wake_applied(self) -> None:
        if self._applied_waiters:
            waiting, self._applied_waiters = self._applied_waiters, []
            for index, waiter in waiting:
                if index > self._applied:
                    self._applied_waiters.append((index, waiter))
                elif not waiter.done():
                    waiter.set_result(None)

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
        waiters: list[asyncio.Future[object]] = [waiter for _term, waiter in self._proposals.values()]
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)
        for read in self._reads.values():
            if not read.done():
                read.set_exception(NoLeader())
        if self._failure is not None or self._stopping:
            for _index, applied in self._applied_waiters:
                if not applied.done():
                    applied.set_exception(NoLeader())
            self._applied_waiters = []

    # Snapshots.

    def _consider_snapshot(self) -> None:
        if self._snapshotting or self._stopping or self._raft is None:
            return
        last = self._raft.snapshot.index if self._raft.snapshot is not None else 0
        waited = self._clock.now() - self._snapshot_time >= self._tuning.snapshot_interval_s
        many = self._applied - last >= self._tuning.snapshot_threshold
        if (many and waited) or (self._log_bytes >= SNAPSHOT_LOG_BYTES and self._applied > last):
            self._snapshotting = True
            self._snapshot_time = self._clock.now()
            self._log_bytes = 0
            meta = self._raft.meta_at(self._applied)
            self._tasks.spawn(self._take_snapshot(meta, self._machine.snapshot()), "snapshot")

    async def _take_snapshot(self, meta: SnapshotMeta, chunks: Callable[[], Iterable[bytes]]) -> None:
        loop = asyncio.get_running_loop()
        started = self._clock.now()
        try:
            await loop.run_in_executor(self._snapshotter, lambda: self._storage.save_snapshot(meta, chunks()))
            self._core.snapshot_taken(meta, self._tuning.trailing_logs)
            await loop.run_in_executor(self._writer, self._storage.compact, meta.index - self._tuning.trailing_logs)
        except StorageError as error:
            self._fail(error)
            return
        finally:
            self._snapshotting = False
        log.info("took a snapshot", index=meta.index, seconds=round(self._clock.now() - started, 3))


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
