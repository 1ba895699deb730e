# ruff: noqa: E501 - a table of cases reads best with one case a line
from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chowk.agent.config.definitions import decode_check, decode_service
from chowk.agent.config.parse import parse
from chowk.agent.config.problems import ConfigError, Problems
from chowk.core.definitions import CheckDefinition, ServiceDefinition


def service_of(body: str, problems: Problems | None = None) -> ServiceDefinition:
    return decode_service(parse("service {\n" + body + "\n}", "s.hcl").entries[0].value, problems)


def problems_of(body: str) -> str:
    with pytest.raises(ConfigError) as caught:
        service_of(body)
    return str(caught.value)


def check_of(**body: Any) -> CheckDefinition:
    return decode_check({"Name": "c", **body})


def refused_check(**body: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check_of(**body)
    return str(caught.value)


DEMO = """
  name = "payment-processor"
  port = 8080
  connect { sidecar_service { proxy { upstreams = [
    { destination_name = "fraud-detection" local_bind_port = 9001 },
    { destination_name = "risk-engine" local_bind_port = 9002 }
  ] } } }"""


def test_the_nested_sidecar_form_gives_its_upstreams() -> None:
    service = service_of(DEMO)
    assert service.connect is not None
    assert service.connect.sidecar_service is not None
    proxy = service.connect.sidecar_service.proxy
    assert proxy is not None
    assert [(one.destination_name, one.local_bind_port) for one in proxy.upstreams] == [
        ("fraud-detection", 9001), ("risk-engine", 9002),
    ]  # fmt: skip
    assert (service.position.line, service.position.column) == (1, 9)


FORMS = {
    "snake_case": 'name = "w" enable_tag_override = true tagged_addresses { lan { address = "a" } } meta { k = "v" }',
    "CamelCase": 'Name = "w" EnableTagOverride = true TaggedAddresses { lan { Address = "a" } } Meta { k = "v" }',
    "quoted keys": '"name" = "w" "enable_tag_override" = true "tagged_addresses" = {"lan" = {"address" = "a"}} "meta" = {"k" = "v"}',
    "strings for flags": 'name = "w" enable_tag_override = "true" tagged_addresses { lan { address = "a" } } meta { k = "v" }',
    "blocks in lists of one": 'name = "w" enable_tag_override = true tagged_addresses = [{ lan = [{ address = "a" }] }] meta = [{ k = "v" }]',
    "repeated blocks of a map": 'name = "w" enable_tag_override = true tagged_addresses { lan { address = "a" } } meta {} meta { k = "v" }',
    "null is not given": 'name = "w" port = null enable_tag_override = true tagged_addresses { lan { address = "a" } } meta { k = "v" }',
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS.keys())
def test_all_ways_to_write_a_service_mean_the_same(body: str) -> None:
    service = service_of(body)
    assert (service.name, service.enable_tag_override, service.meta) == ("w", True, {"k": "v"})
    assert service.tagged_addresses["lan"].address == "a"


@pytest.mark.parametrize(
    "checks",
    [
        'check { name = "a" ttl = "10s" } check { name = "b" ttl = "20s" }',
        'checks { name = "a" ttl = "10s" } checks { name = "b" ttl = "20s" }',
        'check { name = "a" ttl = "10s" } checks = [{ name = "b" ttl = "20s" }]',
        'checks = [{ name = "a", ttl = "10s" }, { name = "b", ttl = "20s" }]',
        'Checks = [{ Name = "a", TTL = "10s" }] checks { Name = "b" Ttl = "0h0m20s" }',
    ],
)
def test_checks_append_however_they_are_written(checks: str) -> None:
    service = service_of('name = "w"\n' + checks)
    assert [(check.name, check.ttl_s, check.type) for check in service.checks] == [("a", 10, "ttl"), ("b", 20, "ttl")]


def test_numbers_as_strings_and_strings_as_numbers_are_taken_where_harmless() -> None:
    service = service_of('name = 7 port = "8080" tags = "one" meta { version = 2 ratio = 1.5 }')
    assert (service.name, service.port, service.tags) == ("7", 8080, ("one",))
    assert service.meta == {"version": "2", "ratio": "1.5"}


WRONG = {
    'nme = "w" name = "x"': 's.hcl:2:1: unknown key "nme"; did you mean "name"?',
    'name = "w" check { ttl = "1s" intervall = "1s" }': 'unknown key "intervall" in check[0]; did you mean "interval"?',
    'name = "w" zzz = 1': 'unknown key "zzz"; service knows',
    'name = "w" port = 65536': "s.hcl:2:19: port: found the number 65536, expected a whole number from 0 to 65535",
    'name = "w" port = -1': "found the number -1",
    'name = "w" port = 80.5': "found the number 80.5",
    'name = "w" port = "http"': 'port: found the string "http", expected a whole number',
    'name = "w" port = true': "port: found true",
    'name = "w" port = 1 port = 2': "s.hcl:2:28: port is given twice, first at s.hcl:2:19",
    'name = "w" tags = [1, {}]': "tags[1]: found a block, expected a string",
    'name = "w" meta = "x"': 'meta: found the string "x", expected a block',
    'name = "w" meta { a = true }': "meta.a: found true, expected a string (put it in quotes)",
    'name = "w" enable_tag_override = 1': "found the number 1, expected true or false",
    'name = "w" check { ttl = 10 }': 'check[0].ttl: found the number 10, expected a duration like "10s" or "1h30m"',
    'name = "w" check { ttl = "10" }': 'check[0].ttl: found the string "10", expected a duration',
    'name = "w" check { ttl = "-5s" }': "check[0].ttl",
    'name = "w" check = 5': "check[0]: found the number 5, expected a block",
    'name = "w" checks = [[]]': "checks[0]: found a list, expected a block",
    "port = 1": "s.hcl:1:9: service: name is missing",
    'name = "*"': "cannot be the name of a service",
    'name = " "': "cannot be the name of a service",
    r'name = "a\u0000b"': "no control characters",
    'name = "w" weights { passing = 0 }': "weights.passing: found the number 0",
    'name = "w" weights { warning = 65536 }': "weights.warning",
    'name = "w" meta { "a b" = "c" }': 'the key "a b" may hold letters',
    'name = "w" meta { consul-x = "c" }': "reserved",
    'name = "w" address = "0.0.0.0"': "no address that clients could dial",
    'name = "w" socket_path = "/x" port = 1': "give socket_path, or address and port, not both",
    'name = "w" kind = "mesh-gateway"': "gateways (mesh-gateway) are not supported yet",
    'name = "w" kind = "proxy"': 'expected one of "typical", "connect-proxy"',
    'name = "w" kind = "connect-proxy" port = 1': "a connect-proxy needs destination_service_name",
    'name = "w" kind = "connect-proxy" proxy { destination_service_name = "x" }': "a connect-proxy needs a port",
    'name = "w" namespace = "team"': "namespace",
    'name = "w" connect { proxy { command = [] } }': "sidecar_service { proxy",
    'name = "w" connect { native = true sidecar_service {} }': "not both",
    'name = "w" connect { sidecar_service { connect { sidecar_service {} } } }': "a sidecar has no sidecar of its own",
    'name = "w" connect { sidecar_service { id = "w" } }': "is the id of the service itself",
    'name = "w" tagged_addresses { lan { port = 1 } }': "tagged_addresses.lan: address is missing",
}


@pytest.mark.parametrize(("body", "message"), WRONG.items())
def test_a_wrong_service_is_refused_with_its_place_and_what_is_meant(body: str, message: str) -> None:
    assert message in problems_of(body)


UPSTREAMS = {
    "{ local_bind_port = 1 }": "upstreams[0]: destination_name is missing",
    '{ destination_name = "x" }': "local_bind_port (or local_bind_socket_path) is missing",
    '{ destination_name = "*" local_bind_port = 1 }': "* is no service to dial",
    '{ destination_name = "x" local_bind_port = 1 local_bind_socket_path = "/s" }': "not both",
    '{ destination_name = "x" local_bind_port = 1 }, { destination_name = "y" local_bind_port = 1 }': "127.0.0.1:1 is bound by another upstream, at s.hcl:",
    '{ destination_name = "x" local_bind_port = 1 config { limits { max_connections = "many" } } }': "config.limits.max_connections: found",
    '{ destination_name = "x" local_bind_port = 1 config { protocol = "htp" } }': "config.protocol: found",
}


@pytest.mark.parametrize(("upstream", "message"), UPSTREAMS.items())
def test_a_wrong_upstream_is_refused(upstream: str, message: str) -> None:
    body = 'name = "w" connect { sidecar_service { proxy { upstreams = [' + upstream + "] } } }"
    assert message in problems_of(body)


def test_an_upstreams_config_keeps_keys_that_are_not_ours() -> None:
    body = """name = "w" connect { sidecar_service { proxy { upstreams {
        destination_name = "x" local_bind_port = 1
        config { envoy_x = { a = [1] } Limits { MaxConnections = "5" } passive_health_check { interval = "10s" } } } } } }"""
    proxy = service_of(body).connect.sidecar_service.proxy  # type: ignore[union-attr]
    assert proxy is not None
    assert proxy.upstreams[0].config == {
        "envoy_x": {"a": [1]}, "limits": {"max_connections": 5}, "passive_health_check": {"interval": "10s"},
    }  # fmt: skip


def test_all_problems_of_a_service_are_told_at_once_in_their_order() -> None:
    lines = problems_of('nam = "w"\nport = 99999\ntags = {}\ncheck { interval = "x" }').splitlines()
    assert len(lines) == 6
    assert [line.split(":")[1] for line in lines] == ["1", "2", "3", "4", "5", "5"]


def test_limits_of_meta_hold() -> None:
    many = "\n".join(f'k{number} = "v"' for number in range(65))
    assert "at most 64 pairs, found 65" in problems_of('name = "w" meta {\n' + many + "\n}")
    assert "longer than 128" in problems_of('name = "w" meta { ' + "k" * 129 + ' = "v" }')
    assert "longer than 512" in problems_of('name = "w" meta { k = "' + "v" * 513 + '" }')
    service_of('name = "w" meta { ' + "k" * 128 + ' = "' + "v" * 512 + '" }')


UNSERVED = {
    'destination_type = "prepared_query"': 'destination_type: upstreams of prepared queries are not supported yet, and nothing listens for "q" on port 9',
    'destination_peer = "c"': 'destination_peer: upstreams of peers are not supported yet, and nothing listens for "q" on port 9',
}  # fmt: skip


@pytest.mark.parametrize(("key", "message"), UNSERVED.items())
def test_an_upstream_of_what_is_not_there_yet_is_a_warning_in_a_file_and_refused_in_a_request(
    key: str, message: str
) -> None:
    problems = Problems()
    upstreams = (
        f'{{ destination_name = "q" local_bind_port = 9 {key} }}, {{ destination_name = "b" local_bind_port = 10 }}'
    )
    made = service_of(f'name = "w" connect {{ sidecar_service {{ proxy {{ upstreams = [{upstreams}] }} }} }}', problems)
    assert len(problems) == 0
    assert message in problems.warnings[0]
    assert made.connect
    assert made.connect.sidecar_service
    assert made.connect.sidecar_service.proxy
    assert [upstream.destination_name for upstream in made.connect.sidecar_service.proxy.upstreams] == ["b"]
    name, _, value = key.partition(" = ")
    upstream = {"DestinationName": "q", "LocalBindPort": 9, name: value.strip('"')}
    with pytest.raises(ConfigError, match="are not supported yet"):
        decode_service({"Name": "w", "Connect": {"SidecarService": {"Proxy": {"Upstreams": [upstream]}}}})


def test_a_name_that_dns_cannot_find_is_a_warning() -> None:
    problems = Problems()
    service_of('name = "web_app"', problems)
    assert len(problems) == 0
    assert 'service "web_app" will not be found through DNS' in problems.warnings[0]


KINDS: dict[str, dict[str, Any]] = {
    "http": {"HTTP": "http://x:1/h", "Interval": "1s"},
    "tcp": {"TCP": "[::1]:80", "Interval": "1s"},
    "udp": {"UDP": "x:1", "Interval": "1s"},
    "grpc": {"GRPC": "x:1/svc", "GRPCUseTLS": True, "Interval": "1s"},
    "h2ping": {"H2PING": "x:1", "Interval": "1s"},
    "ttl": {"TTL": "1s"},
    "script": {"ScriptArgs": ["/bin/true"], "Interval": "1s"},
    "alias": {"AliasService": "db"},
    "os_service": {"OSService": "nginx", "Interval": "1s"},
    "docker": {"DockerContainerID": "x", "Args": ["a"], "Interval": "1s"},
}


@pytest.mark.parametrize(("kind", "body"), KINDS.items())
def test_each_kind_of_check_is_told_by_its_one_target(kind: str, body: dict[str, Any]) -> None:
    assert check_of(**body).type == kind


@pytest.mark.parametrize(
    "body",
    [
        {"HTTP": "http://:80/x"},
        {"HTTP": "https://:443"},
        {"TCP": ":80"},
        {"UDP": ":53"},
        {"GRPC": ":90/svc"},
        {"H2PING": ":1"},
    ],
)
def test_a_target_without_a_host_is_this_one(body: dict[str, Any]) -> None:
    check_of(**body, Interval="1s")


@pytest.mark.parametrize(("kind", "body"), KINDS.items())
def test_two_kinds_in_one_check_are_refused(kind: str, body: dict[str, Any]) -> None:
    other = {"TTL": "1s"} if kind != "ttl" else {"TCP": "x:1", "Interval": "1s"}
    assert "a check has one kind, but this has" in refused_check(**{**body, **other})


CHECKS = [
    ({}, "a check must have one of"),
    ({"HTTP": "http://x/"}, "interval is missing"),
    ({"HTTP": "ftp://x/", "Interval": "1s"}, "is no URL like"),
    ({"HTTP": "http://x:99999/", "Interval": "1s"}, "is no URL like"),
    ({"HTTP": "http://x/ y", "Interval": "1s"}, "is no URL like"),
    ({"TCP": "localhost", "Interval": "1s"}, "is no host:port"),
    ({"TCP": "x:70000", "Interval": "1s"}, "is no host:port"),
    ({"Script": "rm x", "Interval": "1s"}, 'write args = ["command", "argument"] instead'),
    ({"Args": "", "Interval": "1s"}, "the command is empty"),
    ({"Args": ["a", {}], "Interval": "1s"}, "args[1]: found a block"),
    ({"TTL": "1s", "Status": "up"}, 'expected one of "passing", "warning", "critical"'),
    ({"TTL": "1s", "FailuresBeforeWarning": 3, "FailuresBeforeCritical": 2}, "can't be higher than"),
    ({"HTTP": "http://x/", "Interval": "1s", "Header": {"A": ["b\r\nC: d"]}}, "no header with a value of one line"),
    ({"HTTP": "http://x/", "Interval": "1s", "Method": "GET /"}, "is no HTTP method"),
    ({"HTTP": "http://x/", "Interval": "1ms"}, "at least 100ms"),
    ({"TTL": "1s", "OutputMaxSize": 0}, "output_max_size: found the number 0"),
]


@pytest.mark.parametrize(("body", "message"), CHECKS)
def test_a_wrong_check_is_refused(body: dict[str, Any], message: str) -> None:
    assert message in refused_check(**body)


def test_timeouts_default_to_ten_seconds_and_thirty_for_scripts() -> None:
    assert check_of(TCP="x:1", Interval="1s").timeout_s == 10
    assert check_of(Args=["x"], Interval="1s").timeout_s == 30
    assert check_of(Args=["x"], Interval="1s", Timeout="2s").timeout_s == 2


def test_deregistering_sooner_than_a_minute_is_raised_to_a_minute_and_said() -> None:
    problems = Problems()
    check = decode_check({"Name": "c", "TTL": "1s", "DeregisterCriticalServiceAfter": "30s"}, problems)
    assert check.deregister_critical_service_after_s == 60
    assert "less than 1m; 1m is used" in problems.warnings[0]


def test_a_body_takes_nanoseconds_nulls_and_unknown_keys_as_consul_does() -> None:
    body = {"Name": "w", "Tags": None, "Connect": None, "Check": {"TCP": "x:1", "Interval": 2_000_000_000}, "Later": 1}
    problems = Problems()
    service = decode_service(body, problems)
    assert len(problems) == 0
    assert service.checks[0].interval_s == 2
    assert problems.warnings == ['unknown key "Later" is ignored']
    assert str(service.position) == "request"


def test_a_body_without_a_name_is_refused_in_consuls_words() -> None:
    with pytest.raises(ConfigError) as caught:
        decode_service({"Port": 80})
    assert str(caught.value) == "Missing service name"
    assert caught.value.http_status == 400


@pytest.mark.parametrize(
    "body", [None, [], "x", 3, {"Name": {"a": 1}}, {"Name": "x", "Checks": [None]}, {"Name": 10**400}]
)
def test_a_body_that_is_no_service_is_refused_without_any_other_exception(body: Any) -> None:
    with pytest.raises(ConfigError):
        decode_service(body)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["10s", "http://x/", "x:1", "*"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([
                "Name", "ID", "Port", "Check", "Checks", "Connect", "SidecarService", "Proxy", "Upstreams", "Config", "Limits",
                "DestinationName", "LocalBindPort", "HTTP", "TTL", "Interval", "Meta", "Header", "Weights", "Passing", "Tags",
                "TaggedAddresses", "lan", "Address", "Expose", "Paths", "Kind", "Script", "Args", "MaxConnections", "x",
            ]),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=30,
)  # fmt: skip


@given(JSON)
@settings(max_examples=500, deadline=None)
def test_no_body_raises_anything_but_a_config_error(body: Any) -> None:
    before = copy.deepcopy(body)
    for decode in (decode_service, decode_check):
        with suppress(ConfigError):
            decode(body)
    assert repr(body) == repr(before)
