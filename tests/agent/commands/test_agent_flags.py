"""The agent's command line against `consul agent` of 1.10 to 1.22: each flag is taken, and reaches the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from chowk.agent.commands import agent as module
from chowk.agent.config.model import AgentConfig
from chowk.cli import run

KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="

# A flag, a value for it, and what of the configuration then is what. None: taken, and a warning names the key.
FLAGS: list[tuple[str, str, str, Any]] = [
    ("advertise", "10.0.0.1", "advertise_addr", "10.0.0.1"),
    ("advertise-wan", "10.0.0.2", "tagged_addresses", {"wan": "10.0.0.2"}),
    ("allow-write-http-from", "127.0.0.0/8", "http.allow_write_from", ("127.0.0.0/8",)),
    ("alt-domain", "alt", "dns.alt_domain", "alt"),
    ("bind", "127.0.0.2", "bind_addr", "127.0.0.2"),
    ("bootstrap-expect", "1", "bootstrap_expect", 1),
    ("check_output_max_size", "100", "checks_config.output_max_size", 100),
    ("client", "127.0.0.3", "addresses.http", ("127.0.0.3",)),
    ("config-format", "hcl", "dev", True),
    ("datacenter", "DC2", "datacenter", "dc2"),
    ("default-query-time", "20s", "http.default_query_time_s", 20.0),
    ("dns-port", "1", "ports.dns", 1),
    ("domain", "example", "dns.domain", "example"),
    ("encrypt", KEY, "encrypt", KEY),
    ("grpc-port", "2", "ports.grpc", None),
    ("grpc-tls-port", "2", "ports.grpc_tls", None),
    ("hcl", 'log_level = "warn"', "log_level", "warn"),
    ("http-port", "3", "ports.http", 3),
    ("https-port", "4", "ports.https", 4),
    ("join", "10.0.0.3", "gossip.start_join", ("10.0.0.3",)),
    ("join-wan", "10.0.0.3", "start_join_wan", None),
    ("log-file", "/x/y.log", "log_file", "/x/y.log"),
    ("log-level", "debug", "log_level", "debug"),
    ("log-rotate-bytes", "5", "log_rotation.bytes_max", 5),
    ("log-rotate-duration", "1h", "log_rotation.duration_s", 3600.0),
    ("log-rotate-max-files", "-1", "log_rotation.files_max", -1),
    ("max-query-time", "30s", "http.max_query_time_s", 30.0),
    ("node", "n9", "node_name", "n9"),
    ("node-id", "8b8dd4c5-7a62-4ca8-9f94-0ad1e7d8ff35", "node_id", "8b8dd4c5-7a62-4ca8-9f94-0ad1e7d8ff35"),
    ("node-meta", "url:http://x=1", "node_meta", {"url": "http://x=1"}),
    ("node-meta", "rack=a:b", "node_meta", {"rack": "a:b"}),
    ("partition", "default", "dev", True),
    ("pid-file", "/x/pid", "pid_file", "/x/pid"),
    ("primary-gateway", "10.0.0.1:443", "primary_gateways", None),
    ("protocol", "3", "protocol", None),
    ("raft-protocol", "3", "dev", True),
    ("recursor", "9.9.9.9", "dns.recursors", ("9.9.9.9",)),
    ("retry-interval", "5s", "gossip.retry_interval_s", 5.0),
    ("retry-interval-wan", "5s", "retry_interval_wan", None),
    ("retry-join", "10.0.0.4", "gossip.retry_join", ("10.0.0.4",)),
    ("retry-join-wan", "10.0.0.4", "retry_join_wan", None),
    ("retry-max", "7", "gossip.retry_max", 7),
    ("retry-max-wan", "7", "retry_max_wan", None),
    ("segment", "x", "segment", None),
    ("serf-lan-allowed-cidrs", "10.0.0.0/8", "serf_lan_allowed_cidrs", None),
    ("serf-lan-bind", "127.0.0.9", "gossip.bind_addr", "127.0.0.9"),
    ("serf-lan-port", "5", "ports.serf_lan", 5),
    ("serf-wan-allowed-cidrs", "10.0.0.0/8", "serf_wan_allowed_cidrs", None),
    ("serf-wan-bind", "10.0.0.1", "serf_wan", None),
    ("serf-wan-port", "6", "ports.serf_wan", None),
    ("server-port", "7", "ports.server", 7),
    ("ui-content-path", "/x/", "ui_content_path", None),
    ("ui-dir", "/x", "ui_dir", None),
]
SWITCHES: list[tuple[str, str, Any]] = [
    ("auto-reload-config", "auto_reload_config", True),
    ("bootstrap", "bootstrap_expect", 1),
    ("dev", "dev", True),
    ("disable-host-node-id", "dev", True),
    ("disable-keyring-file", "disable_keyring_file", None),
    ("enable-local-script-checks", "checks_config.enable_local_script_checks", True),
    ("enable-script-checks", "checks_config.enable_script_checks", True),
    ("log-json", "log_json", True),
    ("non-voting-server", "non_voting_server", None),
    ("read-replica", "read_replica", None),
    ("rejoin", "gossip.rejoin_after_leave", True),
    ("server", "server", True),
    ("syslog", "syslog_facility", "LOCAL0"),
    ("ui", "ui_config", None),
]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[AgentConfig]:
    """The configurations that agents would have run with."""
    found: list[AgentConfig] = []

    def take(config: AgentConfig, _load: object) -> int:
        found.append(config)
        return 0

    monkeypatch.setattr(module, "run_agent", take)
    return found


def value_of(config: AgentConfig, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def check(config: AgentConfig, path: str, expected: Any) -> None:
    if expected is None:
        assert any(f'"{path}"' in warning or f'"{path}.' in warning for warning in config.warnings), config.warnings
    else:
        assert value_of(config, path) == expected


@pytest.mark.parametrize(("flag", "value", "path", "expected"), FLAGS, ids=[f"{row[0]}={row[1]}" for row in FLAGS])
def test_each_flag_with_a_value_is_taken_in_go_s_spellings(
    started: list[AgentConfig], flag: str, value: str, path: str, expected: Any
) -> None:
    for args in ([f"-{flag}={value}"], [f"-{flag}", value], [f"--{flag}={value}"]):
        assert run(["agent", "-dev", *args]) == 0, args
        check(started.pop(), path, expected)


@pytest.mark.parametrize(("flag", "path", "expected"), SWITCHES, ids=[row[0] for row in SWITCHES])
def test_each_switch_is_taken_alone_and_with_true(
    started: list[AgentConfig], flag: str, path: str, expected: Any
) -> None:
    for args in ([f"-{flag}"], [f"--{flag}"], [f"-{flag}=true"], [f"-{flag}=1"]):
        assert run(["agent", "-dev", *args]) == 0, args
        check(started.pop(), path, expected)


def test_a_switch_that_is_false_wins_over_the_files_and_the_last_one_counts(started: list[AgentConfig]) -> None:
    assert run(["agent", "-dev", "-hcl", "log_json = true", "-log-json=false"]) == 0
    assert not started.pop().log_json
    assert run(["agent", "-dev", "-log-json=false", "-log-json"]) == 0
    assert started.pop().log_json
    assert run(["agent", "-dev", "-log-json", "-log-json=f"]) == 0
    assert not started.pop().log_json


def test_a_switch_that_is_neither_is_refused(started: list[AgentConfig], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["agent", "-dev=maybe"]) == 1
    assert started == []
    assert '-dev is a switch, true or false, and not "maybe"' in capsys.readouterr().err


def test_repeated_flags_append_or_the_last_one_wins(started: list[AgentConfig]) -> None:
    args = ["-recursor=1.1.1.1", "-recursor", "9.9.9.9", "-node=a", "-node=b", "-hcl", 'datacenter = "x"', "-hcl={}"]
    assert run(["agent", "-dev", *args]) == 0
    config = started.pop()
    assert (config.dns.recursors, config.node_name, config.datacenter) == (("1.1.1.1", "9.9.9.9"), "b", "x")


def test_a_clouds_auto_join_is_a_warning_and_the_addresses_beside_it_count(started: list[AgentConfig]) -> None:
    assert run(["agent", "-dev", "-retry-join", "provider=aws tag_key=a tag_value=b", "-retry-join=10.0.0.1"]) == 0
    config = started.pop()
    assert config.gossip.retry_join == ("10.0.0.1",)
    assert config.warnings == (
        "retry_join: members are not looked up with the provider aws; give addresses, or a DNS name that has them",
    )
