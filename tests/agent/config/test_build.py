# ruff: noqa: E501 - a table of cases reads best with one case a line
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chowk.agent.config.build import build
from chowk.agent.config.host import Host, this_host
from chowk.agent.config.model import AgentConfig
from chowk.agent.config.problems import PROBLEMS_MAX, ConfigError
from chowk.agent.config.sockaddr import expand
from chowk.core.definitions import Position

HOST = Host(name="host-1", interfaces=(("eth0", "10.1.2.3"), ("lo", "127.0.0.1"), ("eth1", "8.8.4.4")))
KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="
BASE = 'data_dir = "/tmp/x"\n'


def write(folder: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return [str(folder / name) for name in files]


def built(tmp_path: Path, text: str = "", **flags: Any) -> AgentConfig:
    return build(write(tmp_path, {"a.hcl": BASE + text}), [], flags, host=HOST)


def refused(tmp_path: Path, text: str, **flags: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        built(tmp_path, text, **flags)
    return str(caught.value).replace(str(tmp_path) + "/", "")


def test_dev_needs_nothing_and_is_a_server_in_memory() -> None:
    config = build([], [], {"dev": True}, host=HOST)
    assert (config.dev, config.server, config.bootstrap_expect, config.data_dir) == (True, True, 1, "")
    assert (config.node_name, config.datacenter, config.ports.http, config.ports.dns) == ("host-1", "dc1", 8500, 8600)
    assert config.addresses.http == ("127.0.0.1",)
    assert config.warnings == ()


def test_a_primary_datacenter_elsewhere_is_a_warning(tmp_path: Path) -> None:
    text = 'server = true bootstrap = true datacenter = "dc2"\nprimary_datacenter = '
    assert built(tmp_path, text + '"DC2"').warnings == ()
    [warning] = built(tmp_path, text + '"dc1"').warnings
    assert 'a.hcl:3:22: primary_datacenter: "dc1" is another datacenter than "dc2"' in warning


def test_without_dev_a_data_dir_is_needed() -> None:
    with pytest.raises(ConfigError, match="data_dir is missing"):
        build([], [], {}, host=HOST)
    assert build([], [], {}, host=HOST, fragments=True).data_dir == ""


def test_later_files_win_lists_append_and_flags_win_over_files(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    write(folder, {
        "20.hcl": 'log_level = "warn" recursors = ["10.0.0.2"] node_meta { b = "2" } service { name = "two" }',
        "10.hcl": 'log_level = "debug" recursors = ["10.0.0.1"] node_meta { a = "1" b = "1" } service { name = "one" }',
        "30.json": '{"ports": {"http": 9500}, "service": {"name": "three"}}',
        "README.md": "not = configuration {{{",
        "sub/40.hcl": "neither = is this",
    })  # fmt: skip
    first = write(tmp_path, {"a.hcl": BASE + 'log_level = "error" ports { dns = 9600 http = 1 }'})
    config = build(first, [str(folder)], {"ports.dns": 9601, "datacenter": None, "recursors": ["10.0.0.9"]}, host=HOST)
    assert config.log_level == "warn"
    assert config.dns.recursors == ("10.0.0.1", "10.0.0.2", "10.0.0.9")
    assert config.node_meta == {"a": "1", "b": "2"}
    assert [service.name for service in config.services] == ["one", "two", "three"]
    assert (config.ports.dns, config.ports.http) == (9601, 9500)
    assert [Path(file).name for file in config.files] == ["a.hcl", "10.hcl", "20.hcl", "30.json"]


def test_problems_of_all_files_are_told_together_in_their_order(tmp_path: Path) -> None:
    files = write(tmp_path, {"a.hcl": BASE + "prots {}\nserver = 3", "b.hcl": "x = ", "c.hcl": 'service { nme = "x" }'})
    with pytest.raises(ConfigError) as caught:
        build([*files, str(tmp_path / "missing.hcl")], [], {"log_level": "loud"}, host=HOST)
    text = str(caught.value).replace(str(tmp_path) + "/", "")
    assert 'a.hcl:2:1: unknown key "prots"; did you mean "ports"?' in text
    assert "a.hcl:3:10: server: found the number 3, expected true or false" in text
    assert "b.hcl:1:4: found the end of the file" in text
    assert 'c.hcl:1:11: unknown key "nme" in service[0]; did you mean "name"?' in text
    assert "cannot read missing.hcl: No such file or directory" in text
    assert 'log_level: found the string "loud", expected one of "trace"' in text
    assert text.index("a.hcl:2") < text.index("a.hcl:3") < text.index("b.hcl") < text.index("c.hcl")


def test_very_many_problems_are_counted_not_printed(tmp_path: Path) -> None:
    text = refused(tmp_path, "\n".join(f"bogus{number} = 1" for number in range(PROBLEMS_MAX + 50)))
    assert len(text.splitlines()) == PROBLEMS_MAX + 1
    assert text.endswith("and 50 more problems")


def test_a_known_key_that_is_not_served_is_a_warning_and_is_kept(tmp_path: Path) -> None:
    config = built(
        tmp_path,
        'telemetry { statsite_address = "x:1" }\nretry_join_wan = ["a", "b"]\nacl { enabled = true tokens { agent = "t" } }',
    )
    assert any(
        warning.endswith('a.hcl:2:13: "telemetry.statsite_address" is known but not served yet; it has no effect')
        for warning in config.warnings
    )
    assert config.extra["retry_join_wan"] == ("a", "b")
    assert config.extra["acl"] == {"enabled": True, "tokens": {"agent": "t"}}


AGENT_KEYS = [
    "node_name",
    "node_id",
    "node_meta",
    "datacenter",
    "primary_datacenter",
    "data_dir",
    "server",
    "bootstrap",
    "bootstrap_expect",
    "bind_addr",
    "client_addr",
    "advertise_addr",
    "addresses",
    "ports",
    "retry_join",
    "retry_interval",
    "retry_max",
    "start_join",
    "rejoin_after_leave",
    "leave_on_terminate",
    "skip_leave_on_interrupt",
    "reconnect_timeout",
    "gossip_lan",
    "encrypt",
    "tls",
    "verify_incoming",
    "verify_outgoing",
    "verify_server_hostname",
    "auto_encrypt",
    "acl",
    "default_intention_policy",
    "connect",
    "config_entries",
    "enable_script_checks",
    "enable_local_script_checks",
    "check_update_interval",
    "discard_check_output",
    "domain",
    "alt_domain",
    "recursors",
    "dns_config",
    "limits",
    "http_config",
    "performance",
    "autopilot",
    "raft_snapshot_threshold",
    "raft_snapshot_interval",
    "raft_trailing_logs",
    "log_level",
    "log_json",
    "log_file",
    "enable_debug",
    "enable_syslog",
    "telemetry",
    "ui_config",
    "watches",
    "auto_reload_config",
    "disable_update_check",
    "service",
    "services",
    "check",
    "checks",
]


@pytest.mark.parametrize("key", AGENT_KEYS)
def test_every_agent_key_of_consul_is_known(tmp_path: Path, key: str) -> None:
    files = write(tmp_path, {"a.hcl": key + " = {}"})
    try:
        build(files, [], {"dev": True}, host=HOST)
    except ConfigError as error:
        assert "unknown key" not in str(error)  # noqa: PT017


WRONG = {
    "bootstrap_expect = 1": "bootstrap_expect needs server = true",
    'bind_addr = "10.1.2.3"': "insecure_cluster = true",
    'bind_addr = "0.0.0.0" server = true bootstrap_expect = 3': "a.hcl:2:13: bind_addr 0.0.0.0 is reachable",
    "performance { raft_multiplier = 11 }": "expected a whole number from 1 to 10",
    "autopilot { cleanup = true }": 'unknown key "cleanup" in autopilot',
    'gossip_lan { probe_interval = "1ms" }': "gossip_lan.probe_interval",
    "server = true bootstrap = true bootstrap_expect = 2": "not both",
    'node_name = "a b"': "cannot name a node",
    'node_name = "' + "x" * 129 + '"': "cannot name a node",
    'node_id = "7"': "is no UUID",
    'datacenter = "dc 1"': "may hold letters",
    'domain = "a..b"': "is no domain name",
    'alt_domain = "consul."': "alt_domain is the same as domain",
    'encrypt = "hello"': "encrypt: no base64",
    'encrypt = "aGVsbG8="': "16, 24 or 32 bytes, this one 5",
    'client_addr = "nonsense"': 'client_addr: "nonsense" is no IP address',
    'addresses { dns = "unix:///x" }': "addresses.dns: a Unix socket serves addresses.http only",
    'addresses { http = "unix:x" }': 'a.hcl:2:20: addresses.http: "unix:x" is no socket',
    'addresses { http = "unix:///a\\u0000b" }': "is no socket",
    'unix_sockets { mode = "rw" }': 'a.hcl:2:23: unix_sockets.mode: "rw" is no mode',
    'ports { https = 1 } tls { https { cert_file = "c" key_file = "k" verify_incoming = true } }': "needs ca_file or ca_path",
    'telemetry { statsd_addr = "x" }': 'did you mean "statsd_address"?',
    'tls { https { cert = "x" } }': 'unknown key "cert" in tls.https; did you mean "cert_file"?',
    'bind_addr = "10.0.0.1 10.0.0.2"': "bind_addr: one address, found 2",
    'bind_addr = "{{ GetInterfaceIP \\"eth9\\" }}"': "this host has eth0 10.1.2.3",
    'bind_addr = "{{ GetAllInterfaces | sort }}"': 'function "sort" is not known; use GetPrivateIP',
    'advertise_addr = "0.0.0.0"': "no address that others could dial",
    "ports { http = 8600 }": "ports.http: 8600 is the port of ports.dns too",
    "ports { http = 65536 }": "expected a whole number from -1 to 65535",
    "ports { sidecar_min_port = 30000 }": "not above sidecar_max_port",
    "ports { htp = 1 }": 'unknown key "htp" in ports; did you mean "http"?',
    'recursors = ["dns.example"]': "is no address like 10.0.0.2",
    'recursors = ["1.1.1.1:99999"]': "is no address like 10.0.0.2",
    'http_config { allow_write_http_from = ["10.0.0.0/40"] }': "is no network like",
    'http_config { response_headers { "X-A" = "b\\r\\nc: d" } }': "is no header of one line",
    'dns_config { service_ttl { web = 5 } }': "dns_config.service_ttl.web: found the number 5, expected a duration",
    'connect { ca_provider = "vault" }': 'expected one of "consul"',
    'connect { ca_config = "x" }': "connect.ca_config: expected a block",
    'default_intention_policy = "maybe"': 'expected one of "allow", "deny"',
    'node_meta { "a b" = "c" }': "node_meta",
    'config_entries { bootstrap = [{ Kind = "proxy-defaults" }, { Kind = "proxy-defaults" }] }': 'config entry proxy-defaults "global" is given twice, first at a.hcl:2:31',
    'config_entries { bootstrap { Kind = "api-gateway" } }': "not supported yet",
    'check { ttl = "1s" }': "check[0]: a check needs a name",
    'service { name = "a" } service { name = "a" }': 'a.hcl:2:32: service id "a" is given twice, first at a.hcl:2:9',
    'service { name = "a" connect { sidecar_service {} } } service { id = "a-sidecar-proxy" name = "b" }': 'service id "a-sidecar-proxy" is given twice',
    'check { id = "c" name = "c" ttl = "1s" } service { name = "a" check { id = "c" ttl = "1s" } }': 'check id "c" is given twice',
    'check { name = "c" args = ["x"] interval = "1s" }': "enable_local_script_checks = true",
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_a_wrong_setting_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


def test_ids_taken_in_two_files_name_both_places(tmp_path: Path) -> None:
    one = 'service { name = "a" connect { sidecar_service { proxy { upstreams { destination_name = "x" local_bind_port = 7 } } } } }'
    two = '\nservice { name = "a" }\nservice { name = "b" connect { sidecar_service { proxy { upstreams { destination_name = "y" local_bind_port = 7 } } } } }'
    files = write(tmp_path, {"one.hcl": one, "two.hcl": two})
    with pytest.raises(ConfigError) as caught:
        build(files, [], {"dev": True}, host=HOST)
    text = str(caught.value).replace(str(tmp_path) + "/", "")
    assert 'two.hcl:2:9: service id "a" is given twice, first at one.hcl:1:9' in text
    assert 'two.hcl:3:9: upstream address "127.0.0.1:7" is given twice, first at one.hcl:1:9' in text


def test_addresses_follow_client_addr_unless_given(tmp_path: Path) -> None:
    config = built(tmp_path, 'client_addr = "127.0.0.1 ::1 localhost" addresses { dns = "{{ GetPrivateIP }}" }')
    assert config.addresses.http == ("127.0.0.1", "::1")
    assert config.addresses.dns == ("10.1.2.3",)


def test_binding_all_addresses_advertises_a_private_one(tmp_path: Path) -> None:
    config = built(tmp_path, f'bind_addr = "0.0.0.0" encrypt = "{KEY}"')
    assert (config.bind_addr, config.advertise_addr) == ("0.0.0.0", "10.1.2.3")
    with pytest.raises(ConfigError, match="give advertise_addr"):
        build([], [], {"dev": True, "bind_addr": "0.0.0.0"}, host=Host(name="h"))


def test_templates_of_addresses_expand() -> None:
    assert expand('{{ GetInterfaceIP "eth1" }}', HOST) == "8.8.4.4"
    assert expand("{{GetPublicIP}}", HOST) == "8.8.4.4"
    assert expand("10.0.0.1", HOST) == "10.0.0.1"


def test_the_host_is_asked_for_its_name_and_loopback() -> None:
    host = this_host()
    assert host.name
    assert "127.0.0.1" in [address for _, address in host.interfaces]


def test_node_names_with_dots_are_allowed_with_a_warning(tmp_path: Path) -> None:
    config = built(tmp_path, 'node_name = "a.example.com"')
    assert config.node_name == "a.example.com"
    assert 'node name "a.example.com" will not be found through DNS' in config.warnings[0]


def test_the_default_of_intentions_is_its_own_key_else_that_of_acls(tmp_path: Path) -> None:
    assert built(tmp_path).default_intention_policy == "allow"
    assert built(tmp_path, 'default_intention_policy = "deny"').default_intention_policy == "deny"
    assert built(tmp_path, 'acl { enabled = true default_policy = "deny" }').default_intention_policy == "deny"
    assert built(tmp_path, 'acl { enabled = false default_policy = "deny" }').default_intention_policy == "allow"
    both = 'acl { enabled = true default_policy = "deny" } default_intention_policy = "allow"'
    assert built(tmp_path, both).default_intention_policy == "allow"


def test_leaving_defaults_differ_between_clients_and_servers(tmp_path: Path) -> None:
    client, server = built(tmp_path), built(tmp_path, "server = true bootstrap = true")
    assert (client.leave_on_terminate, client.skip_leave_on_interrupt) == (True, False)
    assert (server.leave_on_terminate, server.skip_leave_on_interrupt, server.bootstrap_expect) == (False, True, 1)


def test_dns_and_connect_settings_reach_the_model(tmp_path: Path) -> None:
    config = built(tmp_path, """
        domain = "Example.Org."
        dns_config { node_ttl = "5s" service_ttl { "*" = "2s" "web" = "1m" } only_passing = true udp_answer_limit = 5 soa { min_ttl = 7 } }
        connect { launch = false ca_config { leaf_cert_ttl = "1h" } }
        limits { http_max_conns_per_client = 9 } check_update_interval = "1s"
        encrypt = "MDEyMzQ1Njc4OWFiY2RlZg==" insecure_cluster = true
        config_entries { bootstrap { Kind = "service-intentions" Name = "db" Sources { Name = "*" Action = "deny" } } }
    """)  # fmt: skip
    assert (config.dns.domain, config.dns.node_ttl_s, config.dns.udp_answer_limit) == ("example.org", 5, 5)
    assert (config.dns.service_ttl_s, config.dns.soa.min_ttl_s) == ({"*": 2, "web": 60}, 7)
    assert (config.connect.launch, config.connect.ca_config) == (False, {"leaf_cert_ttl": "1h"})
    assert (config.limits.http_max_conns_per_client, config.checks_config.check_update_interval_s) == (9, 1)
    assert config.insecure_cluster
    assert config.config_entries[0]["Sources"][0]["Action"] == "deny"


def test_a_definition_remembers_its_file(tmp_path: Path) -> None:
    config = built(tmp_path, 'service { name = "w" }')
    assert config.services[0].position == Position(file=str(tmp_path / "a.hcl"), line=2, column=9)


@pytest.mark.parametrize(("data", "message"), [
    (b"a = \xff", "a.hcl:1:5: the file is not UTF-8 text"),
    (b"\xff\xfea\x00", "a.hcl:1:1: the file is not UTF-8 text"),
    (b"\x00", "a.hcl:1:1: found"),
])  # fmt: skip
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.hcl").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        build([str(tmp_path / "a.hcl")], [], {"dev": True}, host=HOST)
    assert message in str(caught.value)


def test_folders_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none"):
        build([], [str(tmp_path / "none")], {"dev": True}, host=HOST)


def test_files_and_folders_are_read_in_the_order_they_are_given(tmp_path: Path) -> None:
    write(tmp_path, {"d/a.hcl": 'log_level = "warn" datacenter = "a"', "b.hcl": 'log_level = "debug"'})
    config = build([str(tmp_path / "d"), str(tmp_path / "b.hcl")], [], {"dev": True}, host=HOST)
    assert (config.log_level, config.datacenter) == ("debug", "a")


def test_only_with_a_format_are_files_of_other_endings_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.conf": '{"datacenter": "a"}', "b": 'log_level = "warn"'})
    for any_ending, found in ((True, ("a", "warn")), (False, ("dc1", "info"))):
        config = build([str(tmp_path)], [], {"dev": True}, host=HOST, any_ending=any_ending)
        assert (config.datacenter, config.log_level) == found


def test_a_wrong_flag_is_told_by_its_key() -> None:
    with pytest.raises(ConfigError) as caught:
        build([], [], {"dev": True, "ports.http": 70000, "client_addr": "x"}, host=HOST)
    assert str(caught.value).splitlines() == [
        "ports.http: found the number 70000, expected a whole number from -1 to 65535",
        'client_addr: "x" is no IP address',
    ]


def test_pieces_of_the_command_line_lie_over_files_and_under_flags(tmp_path: Path) -> None:
    files = write(tmp_path, {"a.hcl": 'datacenter = "one" domain = "one" log_level = "warn"'})
    pieces = ['datacenter = "two" domain = "two"']
    config = build(files, [], {"dev": True, "datacenter": "three"}, hcl=pieces, host=HOST)
    assert (config.log_level, config.dns.domain, config.datacenter) == ("warn", "two", "three")
    with pytest.raises(ConfigError, match="-hcl:1:4: found the end of the file"):
        build([], [], {"dev": True}, hcl=["a = "], host=HOST)


def test_traffic_leaves_the_host_encrypted_or_because_somebody_said_so(tmp_path: Path) -> None:
    bind = 'bind_addr = "10.1.2.3" '
    assert built(tmp_path, bind + f'encrypt = "{KEY}"').encrypt == KEY
    assert built(tmp_path, bind + "insecure_cluster = true").insecure_cluster
    assert not built(tmp_path, bind + "ports { serf_lan = -1 }").gossip.enabled
    with pytest.raises(ConfigError, match="chowk keygen"):
        build([], [], {"dev": True, "bind_addr": "10.1.2.3"}, host=HOST)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("verify_incoming = true", "verify_incoming"),
        ("verify_server_hostname = true", "verify_server_hostname"),
        ("tls { defaults { verify_outgoing = true } }", "tls.defaults.verify_outgoing"),
        ("tls { internal_rpc { verify_incoming = true } }", "tls.internal_rpc.verify_incoming"),
    ],
)
def test_agents_that_were_to_verify_one_another_and_do_not_are_told(tmp_path: Path, text: str, name: str) -> None:
    def told(more: str) -> list[str]:
        return [each for each in built(tmp_path, text + "\n" + more).warnings if "do not verify one another" in each]

    assert [each.split(": ")[1] for each in told("")] == [name]
    assert [each.split(": ")[1] for each in told('bind_addr = "10.1.2.3" insecure_cluster = true')] == [name]
    assert told('encrypt = "MDEyMzQ1Njc4OWFiY2RlZg=="') == []


def test_gossip_may_listen_elsewhere_but_not_in_the_clear(tmp_path: Path) -> None:
    serf = 'serf_lan = "10.1.2.3" '
    found = built(tmp_path, serf + f'encrypt = "{KEY}"')
    assert (found.bind_addr, found.gossip.bind_addr) == ("127.0.0.1", "10.1.2.3")
    assert built(tmp_path, 'serf_lan = "127.0.0.9"').gossip.bind_addr == "127.0.0.9"
    with pytest.raises(ConfigError, match=r"serf_lan 10\.1\.2\.3 is reachable"):
        built(tmp_path, serf)


def test_keys_that_were_only_warned_of_have_a_say(tmp_path: Path) -> None:
    found = built(
        tmp_path,
        'session_ttl_min = "30s" check_output_max_size = 100 dns_config { recursor_strategy = "random" }',
    )
    assert found.warnings == ()
    assert (found.session_ttl_s_min, found.checks_config.output_max_size) == (30.0, 100)
    assert found.dns.recursor_strategy == "random"


def test_a_keyring_of_an_earlier_start_is_a_key(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "serf").mkdir(parents=True)
    text = f'data_dir = "{folder}" bind_addr = "10.1.2.3"'
    with pytest.raises(ConfigError, match="not be encrypted"):
        build(write(tmp_path, {"b.hcl": text}), [], {}, host=HOST)
    (folder / "serf" / "local.keyring").write_text("[]")
    assert build(write(tmp_path, {"b.hcl": text}), [], {}, host=HOST).bind_addr == "10.1.2.3"


def test_the_cluster_blocks_reach_the_configuration(tmp_path: Path) -> None:
    config = built(
        tmp_path,
        'server = true bootstrap_expect = 3 retry_join = ["10.0.0.2", "10.0.0.3:8309"] retry_interval = "2s"\n'
        'performance { raft_multiplier = 2 rpc_hold_timeout = "3s" }\n'
        'autopilot { min_quorum = 3 server_stabilization_time = "4s" cleanup_dead_servers = false }\n'
        'gossip_lan { probe_interval = "1s" suspicion_mult = 5 } reconnect_timeout = "8h" raft_trailing_logs = 7',
    )
    assert (config.bootstrap_expect, config.gossip.retry_join) == (3, ("10.0.0.2", "10.0.0.3:8309"))
    assert (config.gossip.retry_interval_s, config.gossip.probe_interval_s, config.gossip.suspicion_mult) == (
        2.0,
        1.0,
        5,
    )
    assert (config.raft.raft_multiplier, config.raft.trailing_logs, config.rpc_hold_timeout_s) == (2, 7, 3.0)
    assert (config.autopilot.min_quorum, config.autopilot.server_stabilization_time_s) == (3, 4.0)
    assert not config.autopilot.cleanup_dead_servers
    assert config.gossip.reconnect_timeout_s == 8 * 3600
    assert config.warnings == ()


def test_a_value_size_over_the_hard_limit_is_worth_a_warning_and_not_believed(tmp_path: Path) -> None:
    config = built(tmp_path, "server = true\nbootstrap = true\nlimits {\n  kv_max_value_size = 524289\n}")
    assert config.limits.kv_max_value_size == 524288
    assert "a.hcl:5:23: kv_max_value_size: a value has at most 524288 bytes" in config.warnings[0]
    config = built(tmp_path, "server = true\nbootstrap = true\nlimits {\n  txn_max_req_len = 8388608\n}")
    assert config.limits.txn_max_req_len == 524288
    assert "a.hcl:5:21: txn_max_req_len: a transaction has at most 524288 bytes" in config.warnings[0]
    smaller = built(tmp_path, "server = true\nbootstrap = true\nlimits { kv_max_value_size = 10 }")
    assert (smaller.limits.kv_max_value_size, smaller.warnings) == (10, ())


def test_an_even_number_of_servers_is_worth_a_warning(tmp_path: Path) -> None:
    assert "two servers stop when either fails" in built(tmp_path, "server = true bootstrap_expect = 2").warnings[0]
    assert "no more failures than 3" in built(tmp_path, "server = true bootstrap_expect = 4").warnings[0]


def test_where_the_host_is(tmp_path: Path) -> None:
    locality = built(tmp_path, 'locality { region = "eu-west", zone = "a" }').locality
    assert locality is not None
    assert (locality.region, locality.zone) == ("eu-west", "a")
    assert built(tmp_path).locality is None


def test_where_metrics_go_and_what_they_are_called(tmp_path: Path) -> None:
    text = """telemetry {
      dogstatsd_addr = "[::1]:8125", dogstatsd_tags = ["env:prod"], statsd_address = "stats.example:9125"
      metrics_prefix = "consul", prefix_filter = ["-consul.dns", "+consul.dns.queries"], filter_default = false
    }"""
    found = built(tmp_path, text).telemetry
    assert [(one.host, one.port, one.tags) for one in found.statsd] == [
        ("stats.example", 9125, None),
        ("::1", 8125, ("env:prod",)),
    ]
    assert (found.prefix, found.rules, found.shown) == ("consul", ("-consul.dns", "+consul.dns.queries"), False)
    for bad, said in {
        'statsd_address = "localhost"': 'telemetry.statsd_address: "localhost" is no address and port',
        'statsd_address = "localhost:99999"': "is no address and port",
        'prefix_filter = ["chowk.dns"]': "does not begin with + (show) or - (hide)",
        'metrics_prefix = "a-b"': "letters, digits and underscores",
    }.items():
        assert said in refused(tmp_path, f"telemetry {{ {bad} }}")
