"""Gossip's timing and limits, and the quantities that follow from them and the size of the cluster.

Built by the agent's boot from its configuration; read by every part of the core. The scalings are those of SWIM (Das, Gupta,
Motivala 2002), Lifeguard (Dadgar, Phillips, Currey 2017) and what Consul's operators are used to.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

MAX_DATAGRAM_BYTES: Final = 1400
SEAL_BYTES: Final = 1 + 64 + 12 + 16
"""What `sealed` adds to a datagram at most: version, datacenter's label, nonce, tag. Room is left for it in any case."""

MAX_PACKET_BYTES: Final = MAX_DATAGRAM_BYTES - SEAL_BYTES
MAX_EXCHANGE_BYTES: Final = 16 * 1024 * 1024
"""The largest message of an exchange over TCP: the states of MAX_MEMBERS members fit."""

MAX_MEMBERS: Final = 16_384
MAX_NAME_BYTES: Final = 128
MAX_TAGS_BYTES: Final = 512
MAX_PAYLOAD_BYTES: Final = 512
MAX_REASON_BYTES: Final = 512
MAX_COORDINATE_BYTES: Final = 128
"""Room for another form than ours, which a later release may have."""

MAX_HEALTH: Final = 8
"""The worst local health; Lifeguard's S."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds and counts. `probe_nodes` members are probed each interval (SWIM probes one; three make a small cluster see a
    death within about a second, for under 1 KB/s). `indirect_checks` peers are asked to ping for us.
    A timer that comes `stall_s` late says that this process stood still. With `coordinates` off, this agent neither learns
    nor tells where it is.
    """

    datacenter: str = "dc1"
    probe_interval_s: float = 0.5
    probe_timeout_s: float = 0.25
    probe_nodes: int = 3
    indirect_checks: int = 3
    suspicion_mult: int = 4
    suspicion_max_factor: int = 6
    gossip_interval_s: float = 0.2
    gossip_nodes: int = 3
    gossip_to_dead_s: float = 30.0
    retransmit_mult: int = 4
    push_pull_interval_s: float = 30.0
    exchange_timeout_s: float = 10.0
    reconnect_interval_s: float = 10.0
    reconnect_timeout_s: float = 259_200.0
    leave_spread_s: float = 1.0
    coalesce_s: float = 0.5
    preservation: bool = True
    preservation_window_s: float = 30.0
    preservation_limit_s: float = 3600.0
    max_health: int = MAX_HEALTH
    stall_s: float = 0.25
    coordinates: bool = True

    def retransmit_limit(self, members: int) -> int:
        """How often a broadcast is sent by each that has it."""
        return self.retransmit_mult * math.ceil(math.log10(members + 1))

    def suspicion_bounds(self, members: int) -> tuple[float, float]:
        """(shortest, longest) time a suspect has to refute."""
        shortest = self.suspicion_mult * max(1.0, math.log10(max(1, members))) * self.probe_interval_s
        return shortest, shortest * self.suspicion_max_factor

    def confirmations(self, members: int) -> int:
        """How many confirmations by others bring a suspicion down to its shortest time; 0 where too few could give them."""
        wanted = max(0, self.suspicion_mult - 2)
        return wanted if members - 2 >= wanted else 0

    def push_pull_interval(self, members: int) -> float:
        """Time between two full state syncs of a member: the total of the cluster grows only as n / log n beyond 32."""
        if members <= 32:
            return self.push_pull_interval_s
        return self.push_pull_interval_s * (math.ceil(math.log2(members) - 5.0) + 1.0)
