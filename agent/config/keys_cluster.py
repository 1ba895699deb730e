"""The tables of the cluster's blocks: performance, autopilot, gossip_lan. Read by `keys_agent`."""

from __future__ import annotations

from chowk.agent.config.schema import Duration, Flag, Key, Schema, Text, Whole

PERFORMANCE = Schema(
    "performance",
    (
        Key("raft_multiplier", Whole(minimum=1, maximum=10), "Scales the times of Raft; more for slow hosts", "1"),
        Key("leave_drain_time", Duration(), "How long a leaving server still answers", "5s"),
        Key("rpc_hold_timeout", Duration(), "How long a request waits for a leader", "7s"),
        Key("grpc_keepalive_interval", Duration(), "Of Consul's gRPC", "30s", served=False),
        Key("enable_xds_load_balancing", Flag(), "Of xDS", "true", served=False),
        Key("grpc_keepalive_timeout", Duration(), "Of Consul's gRPC", "20s", served=False),
    ),
)
AUTOPILOT = Schema(
    "autopilot",
    (
        Key("cleanup_dead_servers", Flag(), "Remove servers that failed, while a quorum stays", "true"),
        Key("last_contact_threshold", Duration(), "A server unheard for longer is unhealthy", "200ms"),
        Key("max_trailing_logs", Whole(), "A server this many entries behind is unhealthy", "250"),
        Key("min_quorum", Whole(), "Never remove servers below this number", "0"),
        Key("server_stabilization_time", Duration(), "Health a new server shows before it votes", "10s"),
        Key("redundancy_zone_tag", Text(), "Of Consul Enterprise", '""', served=False),
        Key("disable_upgrade_migration", Flag(), "Of Consul Enterprise", "false", served=False),
        Key("upgrade_version_tag", Text(), "Of Consul Enterprise", '""', served=False),
    ),
)
GOSSIP = Schema(
    "gossip_lan",
    (
        Key("gossip_nodes", Whole(minimum=1, maximum=100), "Members told at a time", "3"),
        Key("gossip_interval", Duration(minimum_s=0.01), "Time between two tellings", "200ms"),
        Key("probe_interval", Duration(minimum_s=0.05), "Time between two probes", "500ms"),
        Key("probe_timeout", Duration(minimum_s=0.01), "How long a probed member may take", "250ms"),
        Key("suspicion_mult", Whole(minimum=1, maximum=100), "Scales how long a suspect may refute", "4"),
        Key("retransmit_mult", Whole(minimum=1, maximum=100), "Scales how often news is told again", "4"),
    ),
)
