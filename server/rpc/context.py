"""What the endpoints of a server share. Made by `server.server`, handed to each endpoint module's `serve`."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from chowk.core.operator_requests import AutopilotState
from chowk.core.records.ca import CAConfiguration, LeafCertificate
from chowk.core.requests import WriteReply
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.loop_lag import LagTally
from chowk.core.server_options import ServerOptions
from chowk.server.port import Consensus
from chowk.server.rpc.board import ClusterBoard
from chowk.server.rpc.forward import Forwarder
from chowk.server.rpc.gate import Gate
from chowk.server.rpc.reads import Reads
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine
from chowk.server.stream.publisher import Publisher


class Signer(Protocol):
    """Who holds the CA's key: the leader's duty."""

    async def sign(self, service: str, csr_pem: str) -> LeafCertificate:
        """A leaf for the CSR's public key. InvalidRequest, TooManyRequests, Unavailable while there is no key."""
        ...

    async def rotate(self, *, emergency: bool, distrust: bool) -> str:
        """Begin to rotate the root; the id of the new one."""
        ...

    async def configure(self, wanted: CAConfiguration, cas: int | None) -> WriteReply:
        """Take another configuration, with a root in it or not. InvalidRequest, Unavailable."""
        ...


class AutopilotView(Protocol):
    """Who looks after the servers: the leader's duty."""

    def state(self) -> AutopilotState:
        """How the servers are. NoLeader where this server does not lead."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServerContext:
    """Every endpoint reads through `reads`, writes through `writes` and is offered through `gate`; one that only the leader
    can answer (it writes, or needs the CA's key) is offered through `leader`."""

    options: ServerOptions
    machine: StoreMachine
    consensus: Consensus
    reads: Reads
    writes: Writes
    publisher: Publisher
    signer: Signer
    autopilot: AutopilotView
    gate: Gate
    leader: Forwarder
    board: ClusterBoard
    lag: LagTally
    clock: Clock
    rng: random.Random

    @property
    def default_allow(self) -> bool:
        """What happens to a connection that no intention matches."""
        return self.options.default_intention_policy != "deny"
