"""Configurations as people run Consul with them, 1.10 to 1.22: all load, and say exactly what has no effect here.

Each folder of consul_configs/ is one; its warnings.txt is what it warns of.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from chowk.agent.config.build import build
from chowk.agent.config.host import Host
from chowk.agent.config.keys_agent import AGENT
from chowk.agent.config.model import AgentConfig
from chowk.cli import run

CONFIGS = sorted((Path(__file__).parent / "consul_configs").iterdir())
HOST = Host(name="host-1", interfaces=(("eth0", "10.1.2.3"), ("lo", "127.0.0.1")))

# Every key at the top of a file that agents of 1.10 to 1.22 take, retired ones too.
TOP = """
acl acl_agent_master_token acl_agent_token acl_datacenter acl_default_policy acl_down_policy acl_enable_key_list_policy
acl_master_token acl_replication_token acl_token acl_ttl addresses advertise_addr advertise_addr_ipv4 advertise_addr_ipv6
advertise_addr_wan advertise_addr_wan_ipv4 advertise_addr_wan_ipv6 advertise_reconnect_timeout ae_interval alt_domain audit
auto_config auto_encrypt auto_reload_config autopilot bind_addr bootstrap bootstrap_expect ca_file ca_path cache cert_file
check check_deregister_interval_min check_output_max_size check_reap_interval check_update_interval checks client_addr cloud
config_entries connect consul data_dir datacenter default_intention_policy default_query_time disable_anonymous_signature
disable_coordinates disable_host_node_id disable_http_unprintable_char_filter disable_keyring_file disable_remote_exec
disable_update_check discard_check_output discovery_max_stale dns_config domain enable_acl_replication
enable_agent_tls_for_checks enable_central_service_config enable_debug enable_local_script_checks enable_script_checks
enable_syslog encrypt encrypt_verify_incoming encrypt_verify_outgoing experiments gossip_lan gossip_wan http_config key_file
leave_on_terminate license_path limits locality log_file log_json log_level log_rotate_bytes log_rotate_duration
log_rotate_max_files max_query_time node_id node_meta node_name non_voting_server partition peering performance pid_file
ports primary_datacenter primary_gateways primary_gateways_interval protocol raft_boltdb raft_logstore raft_prevote_disabled
raft_protocol raft_snapshot_interval raft_snapshot_threshold raft_trailing_logs read_replica reconnect_timeout
reconnect_timeout_wan recursors rejoin_after_leave reporting retry_interval retry_interval_wan retry_join retry_join_wan
retry_max retry_max_wan revision rpc segment segment_limit segment_name_limit segments serf_lan serf_lan_allowed_cidrs
serf_wan serf_wan_allowed_cidrs server server_name server_rejoin_age_max service services session_ttl_min
skip_leave_on_interrupt snapshot_agent start_join start_join_wan sync_coordinate_interval_min sync_coordinate_rate_target
syslog_facility tagged_addresses telemetry tls tls_cipher_suites tls_min_version tls_prefer_server_cipher_suites
translate_wan_addrs ui ui_config ui_content_path ui_dir unix_sockets use_streaming_backend verify_incoming
verify_incoming_https verify_incoming_rpc verify_outgoing verify_server_hostname version version_prerelease watches xds
""".split()  # noqa: SIM905 - reads best as words
INNER = {
    "acl": "default_policy disabled_ttl down_policy enable_key_list_policy enable_token_persistence "
    "enable_token_replication enabled msp_disable_bootstrap policy_ttl role_ttl token_ttl tokens",
    "addresses": "dns grpc grpc_tls http https",
    "autopilot": "cleanup_dead_servers disable_upgrade_migration last_contact_threshold max_trailing_logs min_quorum "
    "redundancy_zone_tag server_stabilization_time upgrade_version_tag",
    "connect": "ca_config ca_provider enable_mesh_gateway_wan_federation enable_serverless_plugin enabled",
    "dns_config": "a_record_limit allow_stale cache_max_age disable_compression enable_additional_node_meta_txt "
    "enable_truncate max_stale node_ttl only_passing prefer_namespace recursor_strategy recursor_timeout service_ttl soa "
    "udp_answer_limit use_cache",
    "gossip_lan": "gossip_interval gossip_nodes probe_interval probe_timeout retransmit_mult suspicion_mult",
    "http_config": "allow_write_http_from block_endpoints max_header_bytes response_headers use_cache",
    "limits": "http_max_conns_per_client https_handshake_timeout kv_max_value_size request_limits rpc_client_timeout "
    "rpc_handshake_timeout rpc_max_burst rpc_max_conns_per_client rpc_rate txn_max_req_len",
    "performance": "enable_xds_load_balancing grpc_keepalive_interval grpc_keepalive_timeout leave_drain_time "
    "raft_multiplier rpc_hold_timeout",
    "ports": "dns expose_max_port expose_min_port grpc grpc_tls http https proxy_max_port proxy_min_port serf_lan serf_wan "
    "server sidecar_max_port sidecar_min_port",
    "rpc": "enable_streaming",
    "telemetry": "circonus_api_app circonus_api_token circonus_api_url circonus_broker_id circonus_broker_select_tag "
    "circonus_check_display_name circonus_check_force_metric_activation circonus_check_id circonus_check_instance_id "
    "circonus_check_search_tag circonus_check_tags circonus_submission_interval circonus_submission_url disable_hostname "
    "disable_per_tenancy_usage_metrics dogstatsd_addr dogstatsd_tags enable_host_metrics filter_default metrics_prefix "
    "prefix_filter prometheus_retention_time retry_failed_connection statsd_address statsite_address",
    "tls": "defaults grpc https internal_rpc",
    "unix_sockets": "group mode user",
}


def load(folder: Path) -> AgentConfig:
    return build([], [str(folder)], {}, host=HOST, fragments=folder.name == "fragments" or folder.name == "dev")


def test_every_key_of_consul_s_agent_is_known() -> None:
    assert [name for name in TOP if name not in AGENT.names] == []
    for block, names in INNER.items():
        schema = next(key for key in AGENT.keys if key.name == block).type.schema  # type: ignore[attr-defined]
        assert [name for name in names.split() if name not in schema.names] == [], block


@pytest.mark.parametrize("folder", CONFIGS, ids=lambda folder: folder.name)
def test_a_configuration_of_consul_loads_and_names_what_has_no_effect(folder: Path) -> None:
    warnings = [warning.replace(f"{folder}/", "") for warning in load(folder).warnings]
    assert warnings == (folder / "warnings.txt").read_text().splitlines()


@pytest.mark.parametrize("folder", CONFIGS, ids=lambda folder: folder.name)
def test_validate_takes_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template = "{{" in "".join(path.read_text() for path in folder.iterdir())
    if template:
        pytest.skip("its templates ask for interfaces that this host may not have")
    assert run(["validate", str(folder)]) == 0
    assert capsys.readouterr().out == "Configuration is valid!\n"


def config(name: str) -> AgentConfig:
    return load(next(folder for folder in CONFIGS if folder.name == name))


def test_what_is_served_of_them_is_what_they_say() -> None:
    tls = config("tls-1.12")
    assert (tls.ports.http, tls.ports.https, tls.https.verify_incoming) == (-1, 8501, False)
    assert tls.https.cert_file == "/consul/config/certs/dc1-server-consul-0.pem"
    old = config("server-1.10")
    assert (old.https.cert_file, old.https.verify_incoming) == ("/etc/consul.d/dc1-server-consul-0.pem", True)
    assert old.gossip.retry_join == ("10.0.4.11", "10.0.4.12", "10.0.4.13")
    cloud = config("cloud-join")
    assert (cloud.advertise_addr, cloud.gossip.retry_join) == ("10.1.2.3", ("10.1.0.5",))
    assert config("tls-client-auto-encrypt").bind_addr == "10.1.2.3"
    unix = config("unix-socket")
    assert (unix.addresses.http, unix.addresses.http_sockets) == (("127.0.0.1",), ("/var/run/consul/http.sock",))
    assert (unix.unix_sockets.mode, unix.pid_file) == (0o770, "/var/run/consul/consul.pid")
    logs = config("production-1.18")
    assert (logs.log_file, logs.log_rotation.files_max, logs.syslog_facility) == ("/var/log/consul/", 7, "LOCAL3")
    assert config("fragments").tagged_addresses == {"wan": "203.0.113.7"}
    assert config("dev").log_level == "debug"


def test_what_denied_by_default_still_does() -> None:
    assert config("production-1.22").default_intention_policy == "deny"
    assert config("server-old-acl").default_intention_policy == "deny"
    assert config("server-1.10").default_intention_policy == "allow"


def test_no_secret_is_in_a_warning() -> None:
    for folder in CONFIGS:
        text = "\n".join(load(folder).warnings)
        assert "deadbeef" not in text
        assert "b1gs33cr3t" not in text
