"""The tables of what Consul knows beyond chowk: keys that are read, checked and kept, and do little or nothing here.

Read by `keys_agent`. A key with `always` asks for what chowk does anyway: only another value than that is worth a warning.
"""

from __future__ import annotations

from chowk.agent.config.schema import Anything, Duration, Flag, Key, Number, Schema, Text, Texts, Type, Whole


def later(kind: Type, doc: str, *names: str) -> tuple[Key, ...]:
    """Keys of one kind that are known and not served."""
    return tuple(Key(name, kind, doc, "", served=False) for name in names)


TELEMETRY = Schema(
    "telemetry",
    (
        Key("prometheus_retention_time", Duration(), "Metrics are served at all times, and kept while the agent runs", "0s"),
        Key("disable_hostname", Flag(), "No metric has the host in its name", "true", always=True),
        Key("statsd_address", Text(), "A statsd to send all metrics to, each 10 s: address:port, UDP", '""'),
        Key("dogstatsd_addr", Text(), "A DogStatsD, with labels as tags", '""'),
        Key("dogstatsd_tags", Texts(), "Tags that are added there to all of them", "[]"),
        Key("metrics_prefix", Text(), "What names of metrics begin with", '"chowk"'),
        Key("prefix_filter", Texts(), "`+prefix` shows metrics, `-prefix` hides them; the longest decides", "[]"),
        Key("filter_default", Flag(), "Whether to show what no filter fits", "true"),
        *later(Text(), "Where else to send metrics", "statsite_address"),
        *later(Flag(), "All metrics are served", "enable_host_metrics", "disable_compat_1.9",
               "disable_per_tenancy_usage_metrics", "retry_failed_connection"),
        *later(Text(), "Of Circonus", *(
            f"circonus_{name}" for name in (
                "api_app", "api_token", "api_url", "broker_id", "broker_select_tag", "check_display_name",
                "check_force_metric_activation", "check_id", "check_instance_id", "check_search_tag", "check_tags",
                "submission_interval", "submission_url",
            )
        )),
    ),
)  # fmt: skip

OLD_ACL = (
    Key("acl_datacenter", Text(), "ACLs (older name): what asks for them", '""', served=False),
    Key("acl_default_policy", Text(choices=("", "allow", "deny")), "As acl.default_policy", '"allow"', served=False),
    *later(Text(), "ACLs (older name)", "acl_agent_master_token", "acl_agent_token", "acl_master_token", "acl_token",
           "acl_replication_token", "acl_down_policy"),
    *later(Duration(), "ACLs (older name)", "acl_ttl", "acl_disabled_ttl"),
    *later(Flag(), "ACLs (older name)", "acl_enable_key_list_policy", "enable_acl_replication"),
)  # fmt: skip

SAME_HERE = (
    Key("disable_update_check", Flag(), "There is no update check", "true", always=True),
    Key("disable_anonymous_signature", Flag(), "There is no update check", "true", always=True),
    Key("disable_remote_exec", Flag(), "There is no remote execution", "true", always=True),
    Key("disable_host_node_id", Flag(), "The node's id is random, and kept", "true", always=True),
    Key("use_streaming_backend", Flag(), "Agents follow servers by streams", "true", always=True),
    Key("enable_central_service_config", Flag(), "Config entries count", "true", always=True),
    Key("encrypt_verify_incoming", Flag(), "With `encrypt`, gossip in the clear is dropped", "true", always=True),
    Key("encrypt_verify_outgoing", Flag(), "With `encrypt`, gossip is encrypted", "true", always=True),
    Key("verify_outgoing", Flag(), "With `encrypt`, RPC is mTLS by certificates of that key", "true", always=True),
    Key("verify_incoming_rpc", Flag(), "With `encrypt`, RPC is mTLS by certificates of that key", "true", always=True),
    Key("verify_server_hostname", Flag(), "With `encrypt`, RPC is mTLS by certificates of that key", "true", always=True),
    Key("translate_wan_addrs", Flag(), "There is one datacenter", "false", always=False),
    Key("enable_agent_tls_for_checks", Flag(), "Checks show no certificate", "false", always=False),
    Key("raft_prevote_disabled", Flag(), "Servers hold pre-votes", "false", always=False),
    Key("disable_keyring_file", Flag(), "Keys are kept in data_dir", "false", always=False),
    Key("disable_http_unprintable_char_filter", Flag(), "Unprintable characters are refused", "false", always=False),
    Key("read_replica", Flag(), "Every server votes in the end", "false", always=False),
    Key("non_voting_server", Flag(), "Every server votes in the end", "false", always=False),
    Key("ui", Flag(), "There is no web page", "false", always=False),
    Key("raft_protocol", Whole(), "Raft's protocol", "3", always=3),
    Key("protocol", Whole(), "Gossip's protocol is chowk's own", "2", always=2),
)  # fmt: skip
RPC = Schema("rpc", (Key("enable_streaming", Flag(), "Servers stream", "true", always=True),))

NOT_SERVED = (
    *later(Duration(), "Joining over the WAN", "retry_interval_wan", "reconnect_timeout_wan", "primary_gateways_interval"),
    *later(Duration(), "Forgetting clients sooner", "advertise_reconnect_timeout"),
    *later(Whole(), "Joining over the WAN", "retry_max_wan"),
    *later(Texts(), "Joining over the WAN", "retry_join_wan", "start_join_wan", "primary_gateways"),
    *later(Text(), "Gossip between datacenters", "serf_wan"),
    *later(Texts(), "Networks that may join", "serf_lan_allowed_cidrs", "serf_wan_allowed_cidrs"),
    *later(Text(), "TLS", "server_name", "tls_cipher_suites"),
    *later(Flag(), "TLS", "tls_prefer_server_cipher_suites"),
    *later(Anything(), "Raft's store is chowk's own", "raft_logstore", "raft_boltdb"),
    *later(Duration(), "Timing", "discovery_max_stale", "server_rejoin_age_max"),
    *later(Text(), "The web page", "ui_dir", "ui_content_path"),
    *later(Anything(), "The web page", "ui_config"),
    *later(Text(), "Of Consul Enterprise", "license_path", "segment"),
    *later(Anything(), "Of Consul Enterprise", "segments", "audit", "license", "reporting", "snapshot_agent"),
    *later(Anything(), "Of HashiCorp's cloud", "cloud"),
    *later(Anything(), "Other datacenters", "peering", "gossip_wan"),
    *later(Anything(), "Of Consul's own making", "cache", "xds", "experiments", "consul"),
    *later(Anything(), "Certificates and configuration from servers", "auto_encrypt", "auto_config"),
    *later(Duration(), "Not for users, says Consul", "ae_interval", "check_deregister_interval_min", "check_reap_interval",
           "sync_coordinate_interval_min"),
    *later(Number(), "Not for users, says Consul", "sync_coordinate_rate_target"),
    *later(Whole(), "Not for users, says Consul", "segment_limit", "segment_name_limit"),
    *later(Text(), "Not for users, says Consul", "revision", "version", "version_prerelease"),
)  # fmt: skip
