"""The wiring of a server: consensus under the store, the store under the endpoints, the endpoints behind a Unix socket for
this host's agent and, in a cluster, behind a TCP port for the other members.

Made by `server.main` (and by tests, with another consensus). `start` recovers, then listens; `stop` ends in reverse.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from pathlib import Path

import structlog

from chowk.core.records.member import Member
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.loop_lag import LoopLag
from chowk.core.runtime.rpc.endpoints import SERVER
from chowk.core.runtime.rpc.identity import ClusterIdentity
from chowk.core.runtime.rpc.listener import RpcListener
from chowk.core.runtime.rpc.tcp import TcpListener, dial_tcp
from chowk.core.runtime.tasks import TaskOwner
from chowk.core.server_options import ServerOptions
from chowk.server.leader.coordinates import CoordinateUpdates
from chowk.server.leader.leadership import LeaderContext, Leadership
from chowk.server.leader.session_ttl import SessionTTL
from chowk.server.port import Consensus, PeerNetwork
from chowk.server.rpc import (
    catalog,
    config_entry,
    config_plan,
    connect_ca,
    coordinate,
    discovery_chain,
    health,
    intention,
    kv,
    members,
    operator,
    prepared_query,
    session,
    snapshot,
    status,
    streams,
    txn,
)  # fmt: skip
from chowk.server.rpc.board import ClusterBoard
from chowk.server.rpc.context import ServerContext
from chowk.server.rpc.forward import Forwarder
from chowk.server.rpc.gate import Gate, Roles
from chowk.server.rpc.reads import Reads
from chowk.server.rpc.servers import Dial, OtherServers, dial_nobody
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import Commit, StoreMachine
from chowk.server.stream.publisher import Publisher
from chowk.server.stream.wakeups import Wakeups

log = structlog.get_logger("chowk.server")
NOUNS = (
    status,
    catalog,
    health,
    intention,
    config_entry,
    config_plan,
    connect_ca,
    discovery_chain,
    coordinate,
    members,
    kv,
    txn,
    prepared_query,
    session,
    operator,
    snapshot,
    streams,
)  # fmt: skip


class Server:
    """One server. `consensus` must have been made for `machine`, and not been started. `dial` connects to another server;
    None: over TCP, proving `identity`, or nowhere for a server without a port."""

    def __init__(
        self,
        options: ServerOptions,
        machine: StoreMachine,
        consensus: Consensus,
        clock: Clock,
        rng: random.Random,
        dial: Dial | None = None,
    ) -> None:
        self._consensus = consensus
        self._tasks = TaskOwner("server")
        self._lag = LoopLag()
        self._letting_go = False
        self._wakeups = Wakeups()
        self._publisher = Publisher(streams.StoreSource(machine))
        machine.follow(self._committed, self._restored)
        self.board = ClusterBoard(options.keys)
        writes = Writes(consensus, clock)
        gate = Gate(Roles())
        self.identity = _identity(options, clock)
        dial = dial or (partial(dial_tcp, identity=self.identity) if self.identity is not None else dial_nobody)
        self._servers = OtherServers(dial)
        self._forwarder = Forwarder(
            consensus, self._servers, gate, options.address, options.rpc_hold_timeout_s, clock, rng
        )
        self.duties = Leadership(
            LeaderContext(
                options=options,
                machine=machine,
                consensus=consensus,
                writes=writes,
                board=self.board,
                servers=self._servers,
                gate=gate,
                clock=clock,
            )
        )
        self.context = ServerContext(
            options=options,
            machine=machine,
            consensus=consensus,
            reads=Reads(machine, consensus, self._wakeups, options.datacenter, clock, rng, options.rpc_hold_timeout_s),
            writes=writes,
            publisher=self._publisher,
            signer=self.duties.authority,
            autopilot=self.duties.autopilot,
            gate=gate,
            leader=self._forwarder,
            board=self.board,
            lag=self._lag.tally,
            clock=clock,
            rng=rng,
        )
        for noun in NOUNS:
            noun.serve(self.context)
        session_ttl = SessionTTL(machine, writes, clock)
        session_ttl.serve(self.context)
        self.duties.add(session_ttl)
        coordinate_updates = CoordinateUpdates(machine, writes, clock)
        coordinate_updates.serve(self.context)
        self.duties.add(coordinate_updates)
        self._listener = RpcListener(Path(options.socket_path), gate.endpoints)
        self.tcp: TcpListener | None = None
        if self.identity is not None:
            self.board.on_keys(self.identity.set_keys)
            self.tcp = TcpListener(options.bind_addr, options.rpc_port, gate.endpoints, self.identity, clock)
            consensus.join(PeerNetwork(endpoints=gate.endpoints, dial=dial, members=self._members))

    async def start(self) -> None:
        """Recover from disk, take part, listen. StorageError or OSError says what is wrong."""
        self._consensus.on_leadership(self._led)
        await self._consensus.start()
        self._lag.start()
        try:
            if self.tcp is not None:
                await self.tcp.start()
            await self._listener.start()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Let another lead, stop listening, end what is under way, let go of the disk. Clients move on at once."""
        if self.tcp is not None:
            await self._consensus.hand_over()
        await self._listener.close()
        if self.tcp is not None:
            await self.tcp.close()
        await self.duties.close()
        await self._forwarder.close()
        await self._servers.close()
        await self._consensus.stop()
        await self._tasks.close()
        self._lag.close()

    def _members(self) -> tuple[Member, ...]:
        return tuple(self.board.members.values())

    def _led(self, leading: bool) -> None:
        self.context.reads.led()
        self.duties.led(leading)

    def _committed(self, commit: Commit) -> None:
        if commit.events:
            self._publisher.publish(commit.index, commit.events)
        self._wakeups.notify(commit.topics)
        self.duties.committed(commit.topics)
        self._let_go_soon()

    def _restored(self) -> None:
        self._publisher.reset()
        self._wakeups.notify_all()
        self._let_go_soon()

    def _let_go_soon(self) -> None:
        if self.context.machine.store.left and not self._letting_go:
            self._letting_go = True
            self._tasks.spawn(self._let_go(), "let go of what was replaced")

    async def _let_go(self) -> None:
        try:
            while self.context.machine.store.let_go():
                await asyncio.sleep(0)
        finally:
            self._letting_go = False


def _identity(options: ServerOptions, clock: Clock) -> ClusterIdentity | None:
    if options.rpc_port < 0:
        return None
    return ClusterIdentity(options.keys, SERVER, options.node_id, options.node_name, options.datacenter, clock)
