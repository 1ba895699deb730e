"""What an agent and its DNS workers tell each other: JSON, one object a line, over the worker's stdin and stdout.

Written and read by `group` (the agent) and `main` (the worker).
"""

from __future__ import annotations

import msgspec

from chowk.dns.responder import Stats
from chowk.dns.settings import DnsSettings


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What may change while a worker runs, always all of it: the servers that are alive, the gossip keys, the settings."""

    servers: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    settings: DnsSettings = DnsSettings()
    log_level: str = "info"


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. `udp` and `tcp` are file descriptors of bound sockets; `server_socket` "" when no server is here."""

    udp: tuple[int, ...]
    tcp: tuple[int, ...]
    node_id: str
    node_name: str
    datacenter: str
    server_socket: str = ""
    log_json: bool = False
    orders: Orders = Orders()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says each second, and when it begins to answer. `pid` tells it from the one before."""

    pid: int
    serving: bool
    stats: Stats
