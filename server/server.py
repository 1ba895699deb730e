"""The wiring of a server: consensus under the store, the store under the endpoints, the endpoints behind a Unix socket.

Made by `server.main` (and by tests, with another consensus). `start` recovers, then listens; `stop` ends in reverse.
"""

from __future__ import annotations

import random
from pathlib import Path

import structlog

from chowk.core.runtime.clock import Clock
from chowk.core.runtime.rpc.listener import RpcListener
from chowk.core.server_options import ServerOptions
from chowk.server.leader.leadership import LeaderContext, Leadership
from chowk.server.port import Consensus
from chowk.server.rpc import catalog, config_entry, connect_ca, health, intention, members, status, streams
from chowk.server.rpc.board import ClusterBoard
from chowk.server.rpc.context import ServerContext
from chowk.server.rpc.forward import Forwarder
from chowk.server.rpc.gate import Gate, SocketOwner
from chowk.server.rpc.reads import Reads
from chowk.server.rpc.servers import Dial, OtherServers, dial_nobody
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import Commit, StoreMachine
from chowk.server.stream.publisher import Publisher
from chowk.server.stream.wakeups import Wakeups

log = structlog.get_logger("chowk.server")
NOUNS = (status, catalog, health, intention, config_entry, connect_ca, members, streams)


class Server:
    """One server. `consensus` must have been made for `machine`, and not been started; `dial` connects to another server."""

    def __init__(
        self,
        options: ServerOptions,
        machine: StoreMachine,
        consensus: Consensus,
        clock: Clock,
        rng: random.Random,
        dial: Dial = dial_nobody,
    ) -> None:
        self._consensus = consensus
        self._wakeups = Wakeups()
        self._publisher = Publisher(streams.StoreSource(machine))
        machine.follow(self._committed, self._restored)
        self.board = ClusterBoard(options.keys)
        writes = Writes(consensus, clock)
        gate = Gate(SocketOwner())
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
            gate=gate,
            leader=self._forwarder,
            board=self.board,
            clock=clock,
            rng=rng,
        )
        for noun in NOUNS:
            noun.serve(self.context)
        self._listener = RpcListener(Path(options.socket_path), self.context.gate.endpoints)

    async def start(self) -> None:
        """Recover from disk, take part, listen. StorageError or OSError says what is wrong."""
        self._consensus.on_leadership(self._led)
        await self._consensus.start()
        try:
            await self._listener.start()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening, end what is under way, let go of the disk."""
        await self._listener.close()
        await self.duties.close()
        await self._forwarder.close()
        await self._servers.close()
        await self._consensus.stop()

    def _led(self, leading: bool) -> None:
        self.context.reads.led()
        self.duties.led(leading)

    def _committed(self, commit: Commit) -> None:
        if commit.events:
            self._publisher.publish(commit.index, commit.events)
        self._wakeups.notify(commit.topics)
        self.duties.committed(commit.topics)

    def _restored(self) -> None:
        self._publisher.reset()
        self._wakeups.notify_all()
