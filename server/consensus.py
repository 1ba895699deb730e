"""RaftConsensus: server.port.Consensus on top of the Raft core. The loop around the core is `driver.engine`, the way to the
other servers `server.peers`.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from chowk.core.errors import ChowkError, DeadlineExceeded, NoLeader, TooLarge, TooManyRequests
from chowk.core.requests import RaftServer
from chowk.core.runtime.clock import Clock
from chowk.core.server_options import RaftTuning, ServerOptions
from chowk.server.driver.bootstrap import founded, opened, refuse_foreign
from chowk.server.driver.engine import Engine
from chowk.server.driver.membership import Membership
from chowk.server.driver.proposals import ENTRY_BYTES_MAX
from chowk.server.driver.recovery import recover
from chowk.server.driver.status import counters, servers
from chowk.server.driver.transport import Transport
from chowk.server.peers.peers import Peers
from chowk.server.port import CHANGE_TIMEOUT_S, PeerNetwork, PeerProgress, PeerRelease, StateMachine
from chowk.server.raft.errors import NotLeading, TooMuchUncommitted
from chowk.server.raft.records import Configuration, Member, Restored
from chowk.server.raft.settings import Settings
from chowk.server.storage.durable import DurableStorage
from chowk.server.storage.errors import StorageError
from chowk.server.storage.memory import MemoryStorage
from chowk.server.storage.port import Storage

log = structlog.get_logger("chowk.consensus")
STOP_TIMEOUT_S: Final = 5.0
START_TIMEOUT_S: Final = 60.0
HAND_OVER_TIMEOUT_S: Final = 2.0
ELECTION_TIMEOUT_S: Final = 0.7
HEARTBEAT_S: Final = 0.1


class RaftConsensus:
    """Implements server.port.Consensus. `expect` is how many servers found a new cluster, of which this is one, while its
    folder is empty: 1 at once and alone, 0 never. `on_failure` is called once, on the loop, when the storage fails: nothing
    can be written any more.
    """

    def __init__(
        self,
        machine: StateMachine,
        storage: Storage,
        member: Member,
        expect: int,
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
        self._expect = expect
        self._clock = clock
        self._rng = rng
        self._engine = Engine(
            member.id, machine, storage, clock, rng, settings or Settings(), tuning or RaftTuning(), on_failure
        )
        if transport is not None:
            self._engine.transport = transport
        self._membership = Membership(self._engine)
        self._peers: Peers | None = None

    # Start and stop.

    def join(self, network: PeerNetwork) -> None:
        """Use this way to the other servers. Before `start`."""
        self._peers = Peers(self._engine, self._member, self._expect, network, self._clock, self._rng)
        self._engine.transport = self._peers.transport

    async def start(self) -> None:
        """Recover from disk and take part; a sole voter leads and has applied its whole log when this returns."""
        engine = self._engine
        restored = await engine.writer.call(partial(opened, self._storage))
        if restored.is_blank and self._expect == 1:
            alone = Configuration((self._member,), f"{self._rng.getrandbits(128):032x}")
            restored = await engine.writer.call(partial(founded, self._storage, alone, restored.hard_state.term))
        restored = await self._restored(restored)
        engine.begin(restored)
        if self._expect == 1:
            refuse_foreign(engine.core.configuration, self._member)
        if self._peers is not None:
            await self._peers.start()
        if engine.core.configuration.voters == (self._member.id,):
            await self._until_leading()

    async def _restored(self, restored: Restored) -> Restored:
        """Bring the state machine to where the disk is."""
        engine = self._engine
        if restored.snapshot is not None:
            swap = await engine.snapshots.call(self._thawed)
            swap()
            engine.applied.index = restored.snapshot.index
        recovered = recover(
            self._storage, restored, self._machine, engine.applied.index, self._member.id, self._clock.wall()
        )
        if recovered.snapshot is not None:
            engine.applied.index = recovered.snapshot.index
        return recovered

    def _thawed(self) -> Callable[[], None]:
        snapshot = self._storage.read_snapshot()
        if snapshot is None:
            raise StorageError("the snapshot is gone")
        return self._machine.thaw(snapshot[1])

    async def _until_leading(self) -> None:
        engine = self._engine
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not engine.leading and engine.failure is None:
                    await engine.applied.reach(engine.applied.index + 1)
        except TimeoutError as error:
            raise StorageError(
                f"the log could not be read and written in {START_TIMEOUT_S:g} s: see whether the disk is slow or hangs"
            ) from error
        except NoLeader:
            log.debug("the start failed")
        if engine.failure is not None:
            raise engine.failure

    async def hand_over(self) -> None:
        """Let another lead, if one can in a short while."""
        if self._engine.has_begun and self._engine.core.leads and len(self._engine.core.configuration.voters) > 1:
            try:
                async with asyncio.timeout(HAND_OVER_TIMEOUT_S):
                    await self.transfer(timeout_s=HAND_OVER_TIMEOUT_S)
            except (ChowkError, TimeoutError) as error:
                log.warning("stopping without a successor", reason=str(error))

    async def stop(self) -> None:
        """Write what is pending, answer who waits, and let go of the disk."""
        engine = self._engine
        if engine.stopping:
            return
        engine.stopping = True
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                while engine.failure is None and engine.leading and engine.applied.index < engine.core.last_index:
                    await engine.applied.reach(engine.core.last_index)
        except (TimeoutError, NoLeader):
            log.warning("stopped before all proposals were written", waiting=len(engine.proposals))
        if self._peers is not None:
            await self._peers.close()
        await engine.close()

    # The port.

    async def propose(self, entry: bytes, *, timeout_s: float) -> object:
        """Replicate an entry; its apply's result, after it is durable. See server.port for the errors."""
        engine = self._engine
        if len(entry) > ENTRY_BYTES_MAX:
            raise TooLarge(f"an entry may have {ENTRY_BYTES_MAX} bytes; this one has {len(entry)}")
        if engine.stopping or engine.failure is not None or not engine.core.leads:
            raise NoLeader
        engine.proposals.check_room()
        try:
            index = engine.core.propose(entry)
        except NotLeading as error:
            raise NoLeader from error
        except TooMuchUncommitted as error:
            raise TooManyRequests(f"too many writes: {error}") from error
        engine.schedule()
        return await engine.proposals.result(index, engine.core.term, timeout_s)

    async def read_barrier(self, *, timeout_s: float) -> None:
        """Return when everything acknowledged before the call is applied here."""
        engine = self._engine
        if engine.stopping or engine.failure is not None:
            raise NoLeader
        core = engine.core
        context, index = engine.reads.begin()
        try:
            core.read(context, self._clock.now())
            engine.schedule()
            async with asyncio.timeout(timeout_s):
                await engine.applied.reach(await index)
        except TimeoutError as error:
            raise DeadlineExceeded(f"no majority confirmed the read in {timeout_s:g} s") from error
        finally:
            engine.reads.end(context)

    @property
    def is_leader(self) -> bool:
        """Whether this server leads, its own term's first entry applied."""
        return self._engine.leading

    @property
    def has_lease(self) -> bool:
        """Whether nobody else can lead at this very moment, and everything committed is applied here."""
        engine = self._engine
        if not engine.has_begun or not engine.leading or engine.failure is not None:
            return False
        return engine.core.has_lease(self._clock.now()) and engine.applied.index >= engine.core.commit_index

    @property
    def leader(self) -> str:
        """The leader's address, "" when unknown."""
        if not self._engine.has_begun:
            return ""
        core = self._engine.core
        member = core.configuration.member(core.leader)
        return member.address if member is not None else ""

    @property
    def applied_index(self) -> int:
        """The last index the state machine has."""
        return self._engine.applied.index

    @property
    def last_contact_s(self) -> float:
        """Seconds since the leader was heard; 0 on the leader."""
        if self._engine.leading or not self._engine.has_begun:
            return 0.0
        return min(self._clock.now() - self._engine.core.leader_contact_s, float(1 << 31))

    @property
    def cluster(self) -> str:
        """See server.port.Consensus."""
        return self._engine.core.configuration.cluster if self._engine.has_begun else ""

    def configuration(self) -> tuple[int, tuple[RaftServer, ...]]:
        """The membership in force and the index of its entry."""
        return self._engine.core.configuration_index, servers(self._engine.core)

    async def add_learner(self, id: str, address: str, node: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Add a server that does not vote yet; or give a member another address or name."""
        await self._membership.add_learner(id, address, node, timeout_s)

    async def promote(self, id: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Let a learner vote."""
        await self._membership.promote(id, timeout_s)

    async def remove(self, id: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Remove a member."""
        await self._membership.remove(id, timeout_s)

    async def transfer(self, target: str = "", *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Let another voter lead."""
        await self._membership.transfer(target, timeout_s)

    def progress(self) -> dict[str, PeerProgress]:
        """How far each other member is, on the leader."""
        return self._membership.progress()

    def on_leadership(self, callback: Callable[[bool], None]) -> None:
        """Call back with True when this server begins to lead, False when it ends."""
        self._engine.callbacks.append(callback)

    def releases(self) -> tuple[PeerRelease, ...]:
        """What the other members run, as far as they said."""
        return self._peers.releases() if self._peers is not None and self._engine.has_begun else ()

    def stats(self) -> dict[str, str]:
        """Counters under Consul's names."""
        engine = self._engine
        if not engine.has_begun and engine.failure is None:
            return {"state": "Starting"}
        known = counters(engine.core, self.applied_index, self.last_contact_s, failed=engine.failure is not None)
        peers = self._peers.counters() if self._peers is not None else {}
        return {**known, "proposals_waiting": str(len(engine.proposals)), **peers}


def make_consensus(
    options: ServerOptions,
    machine: StateMachine,
    clock: Clock,
    rng: random.Random,
    on_failure: Callable[[BaseException], None] | None = None,
) -> RaftConsensus:
    """The consensus of a server, in `<data_dir>/server/raft`, or in memory. By default a failed disk ends the process
    (SIGTERM to itself)."""
    factor = options.raft.raft_multiplier
    storage: Storage = (
        DurableStorage(Path(options.data_dir) / "server" / "raft") if options.data_dir else MemoryStorage()
    )

    def end_process(_error: BaseException) -> None:
        """A server that cannot write is of no use: let main stop it, so that the agent starts it again or says why not."""
        signal.raise_signal(signal.SIGTERM)

    return RaftConsensus(
        machine,
        storage,
        Member(options.node_id, options.address, options.node_name),
        options.bootstrap_expect,
        clock,
        rng,
        tuning=options.raft,
        settings=Settings(election_timeout_s=ELECTION_TIMEOUT_S * factor, heartbeat_s=HEARTBEAT_S * factor),
        on_failure=on_failure or end_process,
    )
