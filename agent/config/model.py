"""The agent's configuration, frozen: what every room reads. Built by `agent.config.build`, from files and flags."""

from __future__ import annotations

from typing import Any

import msgspec

from chowk.core.definitions import CheckDefinition, ServiceDefinition
from chowk.core.records.service import Locality
from chowk.core.records.session import TTL_S_MIN
from chowk.core.server_options import Autopilot, RaftTuning


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """The base of the configuration's parts. Durations are seconds."""


class Ports(Section, frozen=True, kw_only=True):
    """-1 turns a listener off."""

    dns: int = 8600
    http: int = 8500
    https: int = -1
    grpc: int = -1
    serf_lan: int = 8301
    serf_wan: int = 8302
    server: int = 8300
    sidecar_min_port: int = 21000
    sidecar_max_port: int = 21255


class Addresses(Section, frozen=True, kw_only=True):
    """Where each listener binds; built from `addresses{}` and `client_addr`. `http_sockets` are paths of Unix sockets."""

    http: tuple[str, ...] = ("127.0.0.1",)
    http_sockets: tuple[str, ...] = ()
    https: tuple[str, ...] = ("127.0.0.1",)
    dns: tuple[str, ...] = ("127.0.0.1",)


class HttpsConfig(Section, frozen=True, kw_only=True):
    """The HTTPS API's certificate, and whose clients' it takes; with `cert_file` "" there is no HTTPS."""

    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    ca_path: str = ""
    verify_incoming: bool = False
    tls_1_3_only: bool = False
    handshake_timeout_s: float = 5.0


class UnixSocketsConfig(Section, frozen=True, kw_only=True):
    """Owner (name or number, "" for ours), group and mode of Unix sockets."""

    user: str = ""
    group: str = ""
    mode: int = 0o600


METRICS_PREFIX = "chowk"
"""What the names of all metrics begin with, unless `telemetry.metrics_prefix` says another."""


class StatsdConfig(Section, frozen=True, kw_only=True):
    """Where metrics are sent: a statsd, or with `tags` (maybe none) a DogStatsD."""

    host: str
    port: int
    tags: tuple[str, ...] | None = None


class TelemetryConfig(Section, frozen=True, kw_only=True):
    """`rules` show (`+prefix`) or hide (`-prefix`) metrics; what none fits is shown when `shown`."""

    prefix: str = METRICS_PREFIX
    rules: tuple[str, ...] = ()
    shown: bool = True
    statsd: tuple[StatsdConfig, ...] = ()


class LogRotation(Section, frozen=True, kw_only=True):
    """When a log file is put aside; `bytes_max` 0 is no limit, `files_max` 0 keeps all, -1 none."""

    bytes_max: int = 0
    duration_s: float = 86_400.0
    files_max: int = 0


class SoaConfig(Section, frozen=True, kw_only=True):
    refresh_s: int = 3600
    retry_s: int = 600
    expire_s: int = 86400
    min_ttl_s: int = 0


class RateLimitConfig(Section, frozen=True, kw_only=True):
    """DNS replies over UDP a second to a network; see `chowk.dns.settings.RateSettings`."""

    per_second: int = 1000
    slip: int = 1
    exempt: tuple[str, ...] = ("127.0.0.0/8", "::1/128")


class DnsConfig(Section, frozen=True, kw_only=True):
    """`service_ttl_s` maps a service name, a prefix `web*` or `*` to seconds."""

    domain: str = "consul"
    alt_domain: str = ""
    recursors: tuple[str, ...] = ()
    recursor_timeout_s: float = 2.0
    recursor_strategy: str = "sequential"
    node_ttl_s: float = 0.0
    service_ttl_s: dict[str, float] = msgspec.field(default_factory=dict)
    only_passing: bool = False
    enable_truncate: bool = False
    udp_answer_limit: int = 3
    a_record_limit: int = 0
    soa: SoaConfig = SoaConfig()
    wire_cache: bool = True
    response_rate_limit: RateLimitConfig = RateLimitConfig()
    workers: int = 0


class LimitsConfig(Section, frozen=True, kw_only=True):
    http_max_conns_per_client: int = 200
    body_bytes_max: int = 524_288
    kv_max_value_size: int = 524_288
    txn_max_req_len: int = 524_288
    rpc_rate: float = -1.0
    rpc_max_burst: int = 1000


class HttpConfig(Section, frozen=True, kw_only=True):
    """`allow_write_from` lists networks (CIDR) that may send anything but GET; empty: all. `allow_hosts` are names by which
    clients reach a loopback listener, besides those that are the agent's own."""

    block_endpoints: tuple[str, ...] = ()
    response_headers: dict[str, str] = msgspec.field(default_factory=dict)
    allow_write_from: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    max_header_bytes: int = 16_384
    default_query_time_s: float = 300.0
    max_query_time_s: float = 600.0


class ConnectConfig(Section, frozen=True, kw_only=True):
    """`launch` False leaves starting every sidecar to the user; with `keep_leaves` False no sidecar's key is ever on disk.
    `ca_config` keeps Consul's keys (LeafCertTTL, …).
    """

    enabled: bool = True
    ca_provider: str = "consul"
    ca_config: dict[str, Any] = msgspec.field(default_factory=dict)
    launch: bool = True
    keep_leaves: bool = True
    allow_bypass: bool = True


class ChecksConfig(Section, frozen=True, kw_only=True):
    enable_script_checks: bool = False
    enable_local_script_checks: bool = False
    check_update_interval_s: float = 300.0
    discard_check_output: bool = False
    output_max_size: int = 0


class GossipConfig(Section, frozen=True, kw_only=True):
    """Joining, and the timing of gossip (SWIM, Lifeguard). `enabled` False (-dev, ports.serf_lan = -1): a cluster of one.
    `bind_addr` "" is the agent's own."""

    enabled: bool = True
    bind_addr: str = ""
    start_join: tuple[str, ...] = ()
    retry_join: tuple[str, ...] = ()
    retry_interval_s: float = 30.0
    retry_max: int = 0
    rejoin_after_leave: bool = False
    disable_coordinates: bool = False
    reconnect_timeout_s: float = 259_200.0
    probe_interval_s: float = 0.5
    probe_timeout_s: float = 0.25
    suspicion_mult: int = 4
    gossip_interval_s: float = 0.2
    gossip_nodes: int = 3
    retransmit_mult: int = 4


class WatchRequest(Section, frozen=True, kw_only=True):
    """The HTTP request that tells of a change: the JSON is its body."""

    url: str
    method: str = "POST"
    timeout_s: float = 10.0
    header: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    tls_skip_verify: bool = False


class WatchDefinition(Section, frozen=True, kw_only=True):
    """What to watch, and what to do at each change: run `args`, or `shell_line` by a shell, or make `request`.

    `type` is one of `keys_watch.TYPES`, and says which of the parameters count.
    """

    type: str
    key: str = ""
    prefix: str = ""
    service: str = ""
    service_id: str = ""
    tags: tuple[str, ...] = ()
    passing_only: bool = False
    state: str = ""
    name: str = ""
    filter: str = ""
    stale: bool = False
    datacenter: str = ""
    token: str = ""
    args: tuple[str, ...] = ()
    shell_line: str = ""
    request: WatchRequest | None = None


class AgentConfig(Section, frozen=True, kw_only=True):
    """Everything. `warnings` are the known keys not served yet, each with its file:line, to be logged at start."""

    node_name: str
    node_id: str = ""
    node_meta: dict[str, str] = msgspec.field(default_factory=dict)
    datacenter: str = "dc1"
    data_dir: str = ""
    dev: bool = False
    server: bool = False
    bootstrap_expect: int = 0
    bind_addr: str = "127.0.0.1"
    advertise_addr: str = "127.0.0.1"
    tagged_addresses: dict[str, str] = msgspec.field(default_factory=dict)
    locality: Locality | None = None
    addresses: Addresses = Addresses()
    ports: Ports = Ports()
    dns: DnsConfig = DnsConfig()
    limits: LimitsConfig = LimitsConfig()
    http: HttpConfig = HttpConfig()
    https: HttpsConfig = HttpsConfig()
    unix_sockets: UnixSocketsConfig = UnixSocketsConfig()
    connect: ConnectConfig = ConnectConfig()
    checks_config: ChecksConfig = ChecksConfig()
    gossip: GossipConfig = GossipConfig()
    raft: RaftTuning = RaftTuning()
    autopilot: Autopilot = Autopilot()
    rpc_hold_timeout_s: float = 7.0
    session_ttl_s_min: float = TTL_S_MIN
    leave_drain_time_s: float = 5.0
    default_intention_policy: str = "allow"
    services: tuple[ServiceDefinition, ...] = ()
    checks: tuple[CheckDefinition, ...] = ()
    config_entries: tuple[dict[str, Any], ...] = ()
    watches: tuple[WatchDefinition, ...] = ()
    telemetry: TelemetryConfig = TelemetryConfig()
    log_level: str = "info"
    log_json: bool = False
    log_file: str = ""
    log_rotation: LogRotation = LogRotation()
    syslog_facility: str = ""
    pid_file: str = ""
    leave_on_terminate: bool = False
    skip_leave_on_interrupt: bool = False
    disable_update_check: bool = True
    auto_reload_config: bool = False
    enable_debug: bool = False
    encrypt: str = ""
    insecure_cluster: bool = False
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    """Accepted keys of later issues (acl, ui_config, …), as written, for whoever begins to serve them."""
