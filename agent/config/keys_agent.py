"""The table of the agent's own keys: what a file of -config-file or -config-dir may hold. Read by `build`.

A key that is not `served` is known and kept (`AgentConfig.extra`), and said in a warning.
"""

from __future__ import annotations

from chowk.agent.config.keys_accepted import NOT_SERVED, OLD_ACL, RPC, SAME_HERE, TELEMETRY, later
from chowk.agent.config.keys_cluster import AUTOPILOT, GOSSIP, PERFORMANCE
from chowk.agent.config.keys_service import CHECK, LOCALITY, PORT, SERVICE, TENANCY
from chowk.agent.config.keys_tls import OLD_TLS, TLS, UNIX_SOCKETS
from chowk.agent.config.keys_watch import WATCH
from chowk.agent.config.schema import (
    Anything,
    Block,
    Blocks,
    Duration,
    DurationMap,
    Flag,
    Key,
    Number,
    Objects,
    Schema,
    Text,
    TextMap,
    Texts,
    Whole,
)

LISTENER = Whole(minimum=-1, maximum=65535)
FACILITIES = (
    "", "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP",
    *(f"LOCAL{number}" for number in range(8)),
)  # fmt: skip
LOG_LEVELS = ("trace", "debug", "info", "warn", "warning", "err", "error")
RECURSORS = Text(choices=("sequential", "random"))
POLICY = Text(choices=("", "allow", "deny"))

PORTS = Schema(
    "ports",
    (
        Key("dns", LISTENER, "DNS; -1 turns a listener off", "8600"),
        Key("http", LISTENER, "The HTTP API", "8500"),
        Key("https", LISTENER, "The HTTPS API", "-1"),
        Key("grpc", LISTENER, "xDS for Envoy: there is none", "-1", always=-1),
        Key("grpc_tls", LISTENER, "xDS for Envoy, TLS: there is none", "-1", always=-1),
        Key("serf_lan", LISTENER, "Gossip in the datacenter; -1 turns it off: a cluster of one", "8301"),
        Key("serf_wan", LISTENER, "Gossip between datacenters: there is none", "-1", always=-1),
        Key("server", LISTENER, "RPC of servers", "8300"),
        *later(LISTENER, "Of Consul before 1.3", "proxy_min_port", "proxy_max_port"),
        Key("sidecar_min_port", PORT, "First of the ports given to sidecars", "21000"),
        Key("sidecar_max_port", PORT, "Last of them", "21255"),
        Key("expose_min_port", PORT, "First of the ports given to exposed checks", "21500", served=False),
        Key("expose_max_port", PORT, "Last of them", "21755", served=False),
    ),
)
ADDRESSES = Schema(
    "addresses",
    (
        Key("dns", Text(), "Addresses of DNS, separated by blanks", "client_addr"),
        Key("http", Text(), "Addresses of the HTTP API; also unix:///path", "client_addr"),
        Key("https", Text(), "Addresses of the HTTPS API", "client_addr"),
        Key("grpc", Text(), "Addresses of xDS", "client_addr", served=False),
        Key("grpc_tls", Text(), "Addresses of xDS, TLS", "client_addr", served=False),
    ),
)
SOA = Schema(
    "soa",
    (
        Key("refresh", Whole(), "Seconds", "3600"),
        Key("retry", Whole(), "Seconds", "600"),
        Key("expire", Whole(), "Seconds", "86400"),
        Key("min_ttl", Whole(), "Seconds a resolver may remember that a name does not exist", "0"),
    ),
)
DNS_RATE = Schema(
    "response_rate_limit",
    (
        Key("per_second", Whole(), "Replies a second to a /24 or /56, of each kind; 0: no limit", "1000", reload=True),
        Key("slip", Whole(), "1 of so many replies over it is sent, cut, with TC; 0: none", "1", reload=True),
        Key("exempt", Texts(), "Networks (CIDR) without a limit", '["127.0.0.0/8", "::1/128"]', reload=True),
    ),
)  # fmt: skip
DNS = Schema(
    "dns_config",
    (
        Key("node_ttl", Duration(), "TTL of node answers", "0s", reload=True),
        Key("service_ttl", DurationMap(), "TTL by service name, `web*` or `*`", "{}", reload=True),
        Key("only_passing", Flag(), "Leave out instances that warn", "false", reload=True),
        Key("enable_truncate", Flag(), "Set TC when an answer is cut over UDP", "false", reload=True),
        Key("udp_answer_limit", Whole(), "Answers over UDP without EDNS", "3", reload=True),
        Key("a_record_limit", Whole(), "A and AAAA answers; 0 is no limit", "0", reload=True),
        Key("recursor_timeout", Duration(), "How long to wait for a recursor", "2s", reload=True),
        Key("soa", Block(SOA), "The SOA record", "{}", reload=True),
        Key("wire_cache", Flag(), "Answer repeated questions from ready bytes", "true", reload=True),
        Key("response_rate_limit", Block(DNS_RATE), "Limits replies to forged addresses (UDP)", "{}", reload=True),
        Key("workers", Whole(maximum=64), "Processes that answer DNS; 0: the agent itself does", "0"),
        Key("allow_stale", Flag(), "Answers come from views, which are always allowed to be stale", "true"),
        Key("max_stale", Duration(), "Views answer however old they are", "87600h"),
        Key("use_cache", Flag(), "Answers always come from views", "true"),
        Key("cache_max_age", Duration(), "Views are kept up to date, so there is no age", "0s"),
        Key("disable_compression", Flag(), "Names are always compressed", "false", always=False),
        Key("recursor_strategy", RECURSORS, "In which order recursors are asked", '"sequential"', reload=True),
        Key("enable_additional_node_meta_txt", Flag(), "TXT of node_meta in additional", "true", served=False),
        Key("prefer_namespace", Flag(), "Of Consul Enterprise", "false", always=False),
    ),
)  # fmt: skip
LIMITS = Schema(
    "limits",
    (
        Key("http_max_conns_per_client", Whole(), "HTTP connections a client address; 0 is no limit", "200", reload=True),
        Key("kv_max_value_size", Whole(), "Bytes of a value in KV", "524288"),
        Key("txn_max_req_len", Whole(), "Bytes of a transaction", "524288"),
        Key("body_bytes_max", Whole(minimum=1024), "Bytes of any other body", "524288", reload=True),
        Key("rpc_rate", Number(minimum=-1), "RPCs a second to servers are not limited", "-1", always=-1),
        Key("rpc_max_burst", Whole(), "RPCs at once beyond the rate", "1000", served=False),
        Key("rpc_handshake_timeout", Duration(), "TLS handshakes of RPC", "5s", served=False),
        Key("rpc_client_timeout", Duration(), "RPCs that wait", "60s", served=False),
        Key("rpc_max_conns_per_client", Whole(), "RPC connections a client address", "100", served=False),
        Key("https_handshake_timeout", Duration(), "TLS handshakes of HTTPS", "5s"),
        Key("request_limits", Anything(), "Rates of reads and writes", "{}", served=False),
    ),
)  # fmt: skip
HTTP = Schema(
    "http_config",
    (
        Key("block_endpoints", Texts(), "Paths (prefixes) answered with 403", "[]", reload=True),
        Key("response_headers", TextMap(), "Headers put on every reply", "{}", reload=True),
        Key("allow_write_http_from", Texts(), "Networks (CIDR) that may send anything but GET", "[]: all", reload=True),
        Key(
            "allow_hosts",
            Texts(),
            "Names in `Host` that a loopback listener answers to, besides its own",
            "[]",
            reload=True,
        ),
        Key("max_header_bytes", Whole(minimum=1024), "Bytes of a request's headers", "16384"),
        Key("use_cache", Flag(), "?cached is answered from views", "true", always=True),
    ),
)
CA_CONFIG_DOC = (
    "Of a cluster that is founded: LeafCertTTL, RootCertTTL, IntermediateCertTTL, RotationPeriod, CSRMaxPerSecond, …;"
    " a root is taken by `chowk connect ca set-config` alone"
)
KEEP_LEAVES_DOC = (
    "Sidecars keep leaf and key in `data_dir/mesh`, to serve after a restart without servers; false: in memory only"
)
CONNECT = Schema(
    "connect",
    (
        Key("enabled", Flag(), "Whether there is a mesh", "true"),
        Key("ca_provider", Text(choices=("", "consul")), "Only the built-in CA (`consul`)", '"consul"'),
        Key("ca_config", Anything(), CA_CONFIG_DOC, "{}"),
        Key("launch", Flag(), "The agent starts its services' sidecars", "true"),
        Key("keep_leaves", Flag(), KEEP_LEAVES_DOC, "true"),
        Key("allow_bypass", Flag(), "Whether bypasses (break glass) are honoured and taken on this host", "true"),
        Key("enable_mesh_gateway_wan_federation", Flag(), "Of gateways", "false", always=False),
        Key("enable_serverless_plugin", Flag(), "Of Consul's lambda support", "false", always=False),
    ),
)
CONFIG_ENTRIES = Schema(
    "config_entries", (Key("bootstrap", Objects(), "Config entries to write if there are none yet", "[]"),)
)
ACL_TOKENS = Schema(
    "tokens",
    tuple(
        Key(name, Text(), "A token", '""', served=False, also=also)
        for name, also in (
            ("initial_management", ("master",)), ("agent", ()), ("agent_recovery", ("agent_master",)), ("default", ()),
            ("replication", ()), ("config_file_service_registration", ()), ("dns", ()),
        )
    )
    + (Key("managed_service_provider", Anything(), "Of Consul's cloud", "[]", served=False),),
)  # fmt: skip
ACL = Schema(
    "acl",
    (
        Key("enabled", Flag(), "Whether requests need tokens", "false", served=False),
        Key("default_policy", POLICY, "What no rule decides; also the default of intentions", '"allow"'),
        Key("down_policy", Text(), "What to do when servers are gone", '"extend-cache"', served=False),
        Key("tokens", Block(ACL_TOKENS), "Tokens the agent itself uses", "{}", served=False),
        *(
            Key(name, kind, "ACLs", default, served=False)
            for name, kind, default in (
                ("policy_ttl", Duration(), "30s"), ("token_ttl", Duration(), "30s"), ("role_ttl", Duration(), "30s"),
                ("enable_key_list_policy", Flag(), "false"), ("enable_token_persistence", Flag(), "false"),
                ("enable_token_replication", Flag(), "false"), ("disabled_ttl", Duration(), "120s"),
                ("msp_disable_bootstrap", Flag(), "false"),
            )
        ),
    ),
)  # fmt: skip


AGENT = Schema(
    "the agent's configuration",
    (
        Key("node_name", Text(), "Unique in the datacenter", "the host's name"),
        Key("node_id", Text(), "A UUID", "made once and kept in data_dir"),
        Key("node_meta", TextMap(), "At most 64 pairs, as a service's meta", "{}", reload=True),
        Key("datacenter", Text(), "Letters, digits, - and _; capital letters become small ones", '"dc1"'),
        Key("primary_datacenter", Text(), "Where the CA lives: in each datacenter itself", "datacenter"),
        Key("data_dir", Text(), "Where state is kept; needed unless -dev", '""'),
        Key("server", Flag(), "Run a server beside the agent", "false"),
        Key("bootstrap", Flag(), "The same as bootstrap_expect = 1", "false"),
        Key("bootstrap_expect", Whole(maximum=99), "How many servers form the cluster at first", "0"),
        Key("bind_addr", Text(), "Address of the cluster's own traffic; also {{ GetPrivateIP }}", '"127.0.0.1"'),
        Key("client_addr", Text(), "Addresses of HTTP and DNS, apart by blanks", '"127.0.0.1"'),
        Key("advertise_addr", Text(), "The address others are told", "bind_addr"),
        Key("addresses", Block(ADDRESSES), "Addresses by listener", "{}"),
        Key("ports", Block(PORTS), "Ports by listener", "{}"),
        Key("domain", Text(), "The domain that DNS answers for", '"consul"'),
        Key("alt_domain", Text(), "A second one", '""'),
        Key("recursors", Texts(), "Servers for other domains: address or address:port", "[]", reload=True),
        Key("dns_config", Block(DNS), "DNS", "{}", reload=True),
        Key("limits", Block(LIMITS), "Limits", "{}", reload=True),
        Key("http_config", Block(HTTP), "The HTTP API", "{}", reload=True),
        Key("connect", Block(CONNECT), "The mesh", "{}"),
        Key("config_entries", Block(CONFIG_ENTRIES), "Config entries from files", "{}"),
        Key("default_intention_policy", POLICY, "What happens where no intention matches", "acl.default_policy, else allow"),
        Key("service", Blocks(SERVICE), "A service of this agent", "none", reload=True),
        Key("services", Blocks(SERVICE), "Services of this agent", "[]", reload=True),
        Key("check", Blocks(CHECK), "A check of this node", "none", reload=True),
        Key("checks", Blocks(CHECK), "Checks of this node", "[]", reload=True),
        Key("enable_script_checks", Flag(), "Let checks run scripts, also those registered over HTTP", "false", reload=True),
        Key("enable_local_script_checks", Flag(), "Let checks of files run scripts", "false", reload=True),
        Key("check_update_interval", Duration(), "How soon changed output alone is written", "5m", reload=True),
        Key("check_output_max_size", Whole(minimum=1), "Bytes of output kept of any check", "none", reload=True),
        Key("discard_check_output", Flag(), "Keep no output of checks", "false", reload=True),
        Key("log_level", Text(choices=("", *LOG_LEVELS), fold=True), "How much to say", '"info"', reload=True),
        Key("log_json", Flag(), "Log lines as JSON", "false"),
        Key("log_file", Text(), "Log to this file too; a folder (ending in /) gets chowk.log", '""'),
        Key("pid_file", Text(), "Write the agent's pid to this file while it runs", '""'),
        Key("leave_on_terminate", Flag(), "SIGTERM leaves the cluster", "true on clients, false on servers"),
        Key("skip_leave_on_interrupt", Flag(), "Ctrl-C does not leave the cluster", "false on clients, true on servers"),
        Key("enable_debug", Flag(), "Profiles are not served", "false", always=False),
        Key("encrypt", Text(), "The cluster's key: 16, 24 or 32 bytes in base64 (`chowk keygen`)", '""'),
        Key("insecure_cluster", Flag(), "Let the cluster's traffic pass between hosts unencrypted", "false"),
        Key("acl", Block(ACL), "Access control", "{}", served=False),
        *TENANCY,
        Key("performance", Block(PERFORMANCE), "Times of Raft and of waiting", "{}"),
        Key("autopilot", Block(AUTOPILOT), "What the leader does about servers by itself", "{}"),
        Key("retry_join", Texts(), "Members to join, tried until one answers: address or address:port", "[]"),
        Key("start_join", Texts(), "Members to join at the start, which fails when none answers", "[]"),
        Key("serf_lan", Text(), "Where gossip listens", "bind_addr"),
        Key("session_ttl_min", Duration(minimum_s=1.0), "The shortest TTL of a session; servers decide", "10s"),
        Key("retry_interval", Duration(minimum_s=0.1), "Time between two tries of retry_join", "30s"),
        Key("retry_max", Whole(), "Tries of retry_join, then the agent stops; 0 is no limit", "0"),
        Key("rejoin_after_leave", Flag(), "Join the known members again also after a leave", "false"),
        Key("reconnect_timeout", Duration(minimum_s=1.0), "When a failed or left member is forgotten", "72h"),
        Key("raft_snapshot_threshold", Whole(minimum=16), "Entries of the log between two snapshots", "16384"),
        Key("raft_snapshot_interval", Duration(), "Time between two snapshots, but for 131072 entries or 64 MB", "30s"),
        Key("raft_trailing_logs", Whole(), "Entries kept behind a snapshot, for servers a little behind", "10240"),
        Key("watches", Blocks(WATCH), "What to watch, and what to run at each change", "[]", reload=True),
        Key("gossip_lan", Block(GOSSIP), "Gossip's timing", "{}"),
        Key("disable_coordinates", Flag(), "Do not learn or tell where this agent is in the network", "false"),
        Key("locality", Block(LOCALITY), "Where this host is; its services too, unless they say", "none"),
        Key("tls", Block(TLS), "Certificates of the HTTPS API", "{}"),
        *OLD_TLS,
        Key("unix_sockets", Block(UNIX_SOCKETS), "Owner and mode of the sockets that addresses.http names", "{}"),
        Key("telemetry", Block(TELEMETRY), "Metrics are always served", "{}"),
        Key("rpc", Block(RPC), "RPC", "{}"),
        Key("advertise_addr_wan", Text(), "tagged_addresses.wan", "advertise_addr"),
        *(
            Key(f"advertise_addr_{name}", Text(), f"tagged_addresses.{tag}", "none")
            for name, tag in (
                ("ipv4", "lan_ipv4"), ("ipv6", "lan_ipv6"), ("wan_ipv4", "wan_ipv4"), ("wan_ipv6", "wan_ipv6"),
            )
        ),
        Key("tagged_addresses", TextMap(), "Addresses of the node by tag, told beside its own", "{}"),
        Key("auto_reload_config", Flag(), "Reload when a file of the configuration changes", "false"),
        Key("enable_syslog", Flag(), "Log to syslog too", "false"),
        Key("syslog_facility", Text(choices=FACILITIES, fold=True), "As what", '"LOCAL0"'),
        Key("log_rotate_bytes", Whole(maximum=2**40), "A log file of more bytes is put aside; 0 is no limit", "0"),
        Key("log_rotate_duration", Duration(), "A log file that is older is put aside", "24h"),
        Key("log_rotate_max_files", Whole(minimum=-1), "Log files put aside that are kept; 0: all, -1: none", "0"),
        Key("default_query_time", Duration(), "How long a blocking query without `wait` waits", "300s", reload=True),
        Key("max_query_time", Duration(), "The longest it may wait; never over 600s", "600s", reload=True),
        *SAME_HERE,
        *OLD_ACL,
        *NOT_SERVED,
    ),
)  # fmt: skip
