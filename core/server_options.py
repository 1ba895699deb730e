"""What an agent tells the server process it starts: one JSON line on the server's stdin, whose end means the agent is gone.

Written by the agent's supervision of its server child, read by `server.main`.
"""

from __future__ import annotations

from typing import Any

import msgspec

MEMORY = ""
"""A `data_dir` of this value keeps everything in memory and nothing on disk."""


class RaftTuning(msgspec.Struct, frozen=True, kw_only=True):
    """`snapshot_threshold` entries between snapshots, `trailing_logs` kept behind one. Times are seconds."""

    snapshot_threshold: int = 16_384
    snapshot_interval_s: float = 30.0
    trailing_logs: int = 10_240
    raft_multiplier: int = 1


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a server process knows when it starts.

    `address` is the host:port by which other servers and `status/leader` name it; `socket_path` the Unix socket it serves
    RPC on; `data_dir` the agent's (the server keeps to `server/` in it), "" for memory. `config_entries` are written once,
    when the datacenter has no entry of that kind and name. `parent_pid` is the agent's.
    """

    node_id: str
    node_name: str
    datacenter: str = "dc1"
    address: str = "127.0.0.1:8300"
    socket_path: str
    data_dir: str = MEMORY
    log_level: str = "info"
    log_json: bool = False
    ca_provider: str = "consul"
    ca_config: dict[str, Any] = msgspec.field(default_factory=dict)
    default_intention_policy: str = "allow"
    config_entries: tuple[dict[str, Any], ...] = ()
    raft: RaftTuning = RaftTuning()
    parent_pid: int = 0


class ServerReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one JSON line a server prints on stdout when it has started, or when it cannot."""

    ready: bool = False
    error: str = ""
