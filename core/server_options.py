"""What an agent tells the server process it starts: one JSON line on the server's stdin, whose end means the agent is gone.

Written by the agent's supervision of its server child, read by `server.main`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chowk.core.records.session import TTL_S_MIN

MEMORY = ""
"""A `data_dir` of this value keeps everything in memory and nothing on disk."""


class RaftTuning(msgspec.Struct, frozen=True, kw_only=True):
    """`snapshot_threshold` entries between snapshots, `trailing_logs` kept behind one. Times are seconds."""

    snapshot_threshold: int = 16_384
    snapshot_interval_s: float = 30.0
    trailing_logs: int = 10_240
    raft_multiplier: int = 1


class Autopilot(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader does about servers by itself. Times are seconds. Also what `operator autopilot set-config` writes."""

    cleanup_dead_servers: bool = True
    last_contact_threshold_s: float = 0.2
    max_trailing_logs: int = 250
    min_quorum: int = 0
    server_stabilization_time_s: float = 10.0


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a server process knows when it starts.

    `address` is the host:port by which other servers and `status/leader` name it; it listens at `bind_addr`, `rpc_port`
    (-1: a cluster of one without a port, as -dev's, whose `address` says port 0), and serves its own agent on the Unix
    socket `socket_path`. `keys` are the gossip keys in base64, the primary one first: with any, RPC is mutual TLS; with
    none, plain. `bootstrap_expect` is how many servers form a new cluster; 0: wait to be added to one. `data_dir` is
    the agent's (the server keeps to `server/` in it), "" for memory. `config_entries` are written once, when the
    datacenter has no entry of that kind and name. `parent_pid` is the agent's.
    """

    node_id: str
    node_name: str
    datacenter: str = "dc1"
    address: str = "127.0.0.1:8300"
    bind_addr: str = "127.0.0.1"
    rpc_port: int = -1
    bootstrap_expect: int = 1
    keys: tuple[str, ...] = ()
    socket_path: str
    data_dir: str = MEMORY
    log_level: str = "info"
    log_json: bool = False
    ca_provider: str = "consul"
    ca_config: dict[str, Any] = msgspec.field(default_factory=dict)
    default_intention_policy: str = "allow"
    config_entries: tuple[dict[str, Any], ...] = ()
    raft: RaftTuning = RaftTuning()
    autopilot: Autopilot = Autopilot()
    rpc_hold_timeout_s: float = 7.0
    reconnect_timeout_s: float = 259_200.0
    session_ttl_s_min: float = TTL_S_MIN
    parent_pid: int = 0


class ServerReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one JSON line a server prints on stdout when it has started, or when it cannot."""

    ready: bool = False
    error: str = ""
