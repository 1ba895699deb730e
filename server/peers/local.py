"""This server, as the room shares it: who it is, what it knows of its cluster, and whom it refuses. Made by `peers`."""

from __future__ import annotations

from typing import Final

from chowk import __version__
from chowk.core.commands import COMMANDS_VERSION
from chowk.core.errors import PermissionDenied
from chowk.core.records.member import ALIVE
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.refusals import Refusals
from chowk.core.runtime.rpc.endpoints import SERVER, Peer
from chowk.server.driver.engine import Engine
from chowk.server.peers.messages import Origin, Runs
from chowk.server.port import PeerNetwork, PeerRelease
from chowk.server.raft.records import Member

RUNS: Final = Runs(release=__version__, commands=COMMANDS_VERSION)
"""What this server runs."""


class Local:
    """`adopted` is the nonce of the cluster that a blank server was added to, until its log says it."""

    def __init__(self, engine: Engine, member: Member, expect: int, network: PeerNetwork, clock: Clock) -> None:
        self.engine = engine
        self.member = member
        self.expect = expect
        self.network = network
        self.dial = network.dial
        self.clock = clock
        self.refusals = Refusals("a message between servers", clock)
        self.counts: dict[str, int] = {}
        self.adopted = ""
        self._running: dict[str, Runs] = {}

    @property
    def cluster(self) -> str:
        """The nonce of this server's cluster, "" while it is in none."""
        return self.engine.core.configuration.cluster or self.adopted

    @property
    def origin(self) -> Origin:
        """How this server introduces itself."""
        return Origin(id=self.member.id, node=self.member.node, address=self.member.address, cluster=self.cluster)

    def hear_release(self, id: str, runs: Runs) -> None:
        """A member says, at every new connection, what it runs: so it is known before it is sent anything."""
        if self.engine.core.configuration.member(id) is not None:
            self._running[id] = runs

    def releases(self) -> tuple[PeerRelease, ...]:
        """What the other members run, of those that said. Members that are gone are forgotten."""
        members = {member.id: member for member in self.engine.core.configuration.members}
        self._running = {id: runs for id, runs in self._running.items() if id in members}
        return tuple(
            PeerRelease(members[id].node or id, runs.release, runs.commands) for id, runs in self._running.items()
        )

    def count(self, what: str, times: int = 1) -> None:
        """One of the counters of `stats`."""
        self.counts[what] = self.counts.get(what, 0) + times

    def refuse(self, reason: str, sender: str, words: str) -> PermissionDenied:
        """Count and log a refusal; the error to answer with."""
        self.refusals.add(reason, sender, words)
        return PermissionDenied(words)

    def check_origin(self, origin: Origin, peer: Peer) -> None:
        """PermissionDenied unless `peer` is a server, is who it says, and is not this server's double."""
        if peer.role != SERVER:
            raise self.refuse("role", peer.name, f"{peer.name} is no server: only servers speak Raft")
        if peer.node_id and peer.node_id != origin.id:
            words = f"{peer.name} has the certificate of node {peer.node_id} and says it is {origin.id}"
            raise self.refuse("identity", peer.name, words)
        if origin.id == self.member.id:
            raise self.refuse("double", peer.name, self.double(origin.address, self.member.address))
        known = self.engine.core.configuration.member(origin.id)
        if known is None or origin.address == known.address:
            return
        if origin.address != self.address_of(known):
            raise self.refuse("double", peer.name, self.double(origin.address, known.address, origin.id))

    def address_of(self, member: Member) -> str:
        """Where a member is: where the configuration says; or, when gossip knows it at one other place only, there. So
        servers that all get new addresses at once find each other, and a copy of a server's data does not take its place."""
        alive = {
            known.rpc_address
            for known in self.network.members()
            if known.id == member.id and known.status == ALIVE and known.rpc_address
        }
        return alive.pop() if len(alive) == 1 and member.address not in alive else member.address

    def double(self, here: str, there: str, id: str = "") -> str:
        """What to do about two servers with one id."""
        return (
            f"the server with the node id {id or self.member.id} is known at {there}, and one at {here} says it "
            "is the same: "
            "if it moved, wait until the leader knows its new address; if its data_dir was copied, stop the copy, empty its "
            "data_dir (node-id too) and start it again"
        )

    def stranger(self, origin: Origin) -> str:
        """What to do about a server of another cluster."""
        return (
            f"{origin.node} ({origin.address}) is of the cluster {origin.cluster or 'without a name'}, "
            f"this server of {self.cluster or 'one without a name'}: "
            "two clusters were joined by mistake. Let one leave the other's gossip (retry_join, join); or, to make "
            "it part of this cluster, stop it, move its folder data_dir/server away, and start it again"
        )
