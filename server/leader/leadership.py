"""Everything this server does while it leads, put together. Made by `server.server`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chowk.core.events import HEALTH, NODES, Topic
from chowk.core.runtime.clock import Clock
from chowk.core.server_options import ServerOptions
from chowk.server.leader.authority import CertificateAuthority
from chowk.server.leader.autopilot import Autopilot
from chowk.server.leader.duties import Duty, LeaderDuties
from chowk.server.leader.establishment import Establishment
from chowk.server.leader.key_copies import KeyCopies
from chowk.server.leader.key_sharing import KeySharing
from chowk.server.leader.keystore import DiskKeys, MemoryKeys
from chowk.server.leader.members import Members
from chowk.server.leader.membership import SERVICE
from chowk.server.leader.own_node import OwnNode
from chowk.server.leader.restores import AbandonedRestores
from chowk.server.leader.rotation import Rotation
from chowk.server.port import Consensus
from chowk.server.rpc.board import ClusterBoard
from chowk.server.rpc.gate import Gate
from chowk.server.rpc.servers import OtherServers
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine

MEMBERS = frozenset({Topic(kind=NODES), Topic(kind=HEALTH, key=SERVICE)})


@dataclass(frozen=True, kw_only=True)
class LeaderContext:
    """What the duties share."""

    options: ServerOptions
    machine: StoreMachine
    consensus: Consensus
    writes: Writes
    board: ClusterBoard
    servers: OtherServers
    gate: Gate
    clock: Clock


class Leadership:
    """`led` is called when leadership begins and ends; `add` takes another room's duty. `authority` signs while this
    server leads, `autopilot` says how the servers are; `done` is set while everything that a new leader owes is done."""

    def __init__(self, context: LeaderContext) -> None:
        options, machine, clock = context.options, context.machine, context.clock
        keys = DiskKeys(Path(options.data_dir) / "server" / "ca") if options.data_dir else MemoryKeys()
        sharing = KeySharing(context.consensus, context.servers, keys, lambda: machine.store.roots, clock)
        sharing.serve(context.gate)
        self.authority = CertificateAuthority(options, machine, context.writes, keys, sharing, clock)
        self._establishment = Establishment(options, machine, context.writes, self.authority, clock)
        self._own_node = OwnNode(options, machine, context.writes, clock)
        self.done = self._establishment.done
        self._duties = LeaderDuties(clock)
        self._duties.add(self._establishment)
        self._duties.add(self._own_node)
        self._duties.add(Members(options, machine, context.writes, context.board, clock))
        self.autopilot = Autopilot(options, machine, context.consensus, context.board, clock)
        self._duties.add(self.autopilot)
        self._duties.add(AbandonedRestores(machine, context.writes, clock))
        self._duties.add(KeyCopies(self.authority, sharing, clock))
        self._duties.add(Rotation(self.authority, clock))

    def add(self, duty: Duty) -> None:
        """One more duty, before this server starts."""
        self._duties.add(duty)

    def led(self, leading: bool) -> None:
        """This server begins to lead, or leads no more."""
        self.done.clear()
        self.authority.resign()
        self._duties.led(leading)

    def committed(self, topics: frozenset[Topic]) -> None:
        """The store changed: hear of it when it is about members, so that the catalog's account of members stays whole."""
        if topics & MEMBERS:
            self._own_node.changed.set()

    async def close(self) -> None:
        """End every duty."""
        self.authority.resign()
        await self._duties.close()
