"""How much a client can take, and how many entries fit. A pure core, called by the responder and the codec."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from chowk.dns.records import SRV
from chowk.dns.settings import DnsSettings

PLAIN_UDP_BYTES_MAX = 512  # RFC 1035 section 4.2.1
REMOTE_UDP_BYTES_MAX = 1232  # never fragmented, little to amplify: DNS flag day 2020, RELIABILITY.md
LOCAL_UDP_BYTES_MAX = 65_507  # all that a datagram over IPv4 holds; loopback neither fragments nor amplifies
TCP_BYTES_MAX = 65_535
ADDRESS_BYTES_MIN = 16  # an A record with its name compressed
SERVICE_BYTES_MIN = 36  # an SRV record and the A record of its target
ENTRIES_MAX = TCP_BYTES_MAX // ADDRESS_BYTES_MIN


class Via(enum.Enum):
    """How a query came. Loopback and remote UDP have different limits, hence different ready replies."""

    UDP_LOCAL = "udp-local"
    UDP_REMOTE = "udp-remote"
    TCP = "tcp"


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The reply's bytes and entries (0: any number); `flag_truncation` sets TC when something was left out."""

    bytes_max: int
    entries_max: int = 0
    flag_truncation: bool = False

    def room(self, kind: int) -> int:
        """More entries than this are hardly ever in a reply to a question of that type."""
        fit = self.bytes_max // (SERVICE_BYTES_MIN if kind == SRV else ADDRESS_BYTES_MIN)
        return min(self.entries_max, fit) if self.entries_max > 0 else fit


def budget(via: Via, edns_size: int | None, settings: DnsSettings) -> Budget:
    """What a reply may hold. `edns_size` is the client's UDP size, None without EDNS."""
    if via is Via.TCP:
        return Budget(bytes_max=TCP_BYTES_MAX)
    if edns_size is None:
        return Budget(
            bytes_max=PLAIN_UDP_BYTES_MAX,
            entries_max=max(0, settings.udp_answer_limit),
            flag_truncation=settings.enable_truncate,
        )
    ceiling = LOCAL_UDP_BYTES_MAX if via is Via.UDP_LOCAL else REMOTE_UDP_BYTES_MAX
    size = min(max(edns_size, PLAIN_UDP_BYTES_MAX), ceiling)  # RFC 6891 section 6.2.3: below 512 means 512
    return Budget(bytes_max=size, flag_truncation=settings.enable_truncate)


def fitting(sizes: Iterable[int], room: int) -> int:
    """How many of the leading items of these sizes fit in `room` bytes. Takes no more items than it needs."""
    count = 0
    for size in sizes:
        room -= size
        if room < 0:
            break
        count += 1
    return count
