# ruff: noqa: E501 - a table of cases reads best with one case a line
from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chowk.agent.config.config_entries import decode_config_entry
from chowk.agent.config.parse import parse
from chowk.agent.config.problems import ConfigError
from chowk.core.codec import to_builtins
from chowk.core.records.config_entry import AnyConfigEntry, ProxyDefaults, ServiceDefaults, ServiceIntentions

FORMS = {
    "CamelCase": 'Kind = "service-intentions" Name = "db" Sources = [{ Name = "web" Action = "allow" }, { Name = "*", Action = "deny" }]',
    "snake_case": 'kind = "service-intentions" name = "db" sources = [{ name = "web" action = "allow" }, { name = "*", action = "deny" }]',
    "repeated blocks": 'Kind = "service-intentions" Name = "db" Sources { Name = "web" Action = "allow" } Sources { Name = "*" Action = "deny" }',
    "JSON": '{"Kind": "service-intentions", "Name": "db", "Sources": [{"Name": "web", "Action": "allow"}, {"name": "*", "action": "deny"}]}',
    "what the API shows": """Kind = "service-intentions" Name = "db" CreateIndex = 3 ModifyIndex = 9 Meta = null
        Sources = [{ Name = "web" Action = "allow" Precedence = 9 Type = "consul" LegacyID = "" },
                   { Name = "*" Action = "deny" Precedence = 8 Type = "consul" }]""",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_all_ways_to_write_intentions_mean_the_same(text: str) -> None:
    entry = decode_config_entry(parse(text, "e.hcl"))
    assert isinstance(entry, ServiceIntentions)
    assert entry.name == "db"
    assert [(one.name, one.action, one.type) for one in entry.sources] == [
        ("web", "allow", "consul"),
        ("*", "deny", "consul"),
    ]


def test_permissions_of_the_documentations_form_are_decoded() -> None:
    text = """
    Kind = "service-intentions"
    Name = "api"
    Sources = [
      {
        Name = "web"
        Permissions = [
          {
            Action = "allow"
            HTTP {
              PathPrefix = "/v2"
              Methods = ["GET", "PUT"]
              Header = [ { Name = "x-debug" Exact = "1" Invert = true } ]
            }
          },
          { Action = "deny" HTTP { PathRegex = "/admin/.*" } }
        ]
      }
    ]"""
    entry = decode_config_entry(parse(text, "e.hcl"))
    assert isinstance(entry, ServiceIntentions)
    first, second = entry.sources[0].permissions
    assert (first.action, first.http.path_prefix, first.http.methods) == ("allow", "/v2", ("GET", "PUT"))
    assert (first.http.header[0].name, first.http.header[0].exact, first.http.header[0].invert) == (
        "x-debug",
        "1",
        True,
    )
    assert (second.action, second.http.path_regex) == ("deny", "/admin/.*")


def test_service_defaults_keep_consuls_names_and_nanoseconds_in_upstream_config() -> None:
    entry = decode_config_entry(
        {
            "Kind": "service-defaults", "Name": "web", "Protocol": "http", "Expose": {"Paths": [{"Path": "/m", "ListenerPort": 1}]},
            "UpstreamConfig": {
                "Defaults": {"ConnectTimeoutMs": 3000, "PassiveHealthCheck": {"Interval": 10_000_000_000, "MaxFailures": 3}},
                "Overrides": [{"Name": "db", "Limits": {"MaxConnections": 5}}],
            },
        }
    )  # fmt: skip
    assert isinstance(entry, ServiceDefaults)
    assert (entry.protocol, entry.expose.paths[0].listener_port) == ("http", 1)
    assert entry.upstream_config == {
        "Defaults": {"ConnectTimeoutMs": 3000, "PassiveHealthCheck": {"Interval": 10_000_000_000, "MaxFailures": 3}},
        "Overrides": [{"Name": "db", "Limits": {"MaxConnections": 5}}],
    }


def test_proxy_defaults_are_named_global() -> None:
    entry = decode_config_entry({"kind": "proxy-defaults", "config": {"protocol": "http", "envoy_x": "y"}})
    assert isinstance(entry, ProxyDefaults)
    assert (entry.name, entry.config) == ("global", {"envoy_x": "y", "protocol": "http"})


def test_an_entry_survives_being_printed_and_read_again() -> None:
    entry = decode_config_entry(parse(FORMS["CamelCase"], "e.hcl"))
    printed = to_builtins(entry)
    assert msgspec.convert(printed, AnyConfigEntry) == entry
    assert decode_config_entry(printed) == entry


SOURCE = '{ Name = "web" Action = "allow" }'
WRONG = {
    'Name = "x"': "Kind is missing",
    'Kind = "service-intention" Name = "x"': 'invalid config entry kind "service-intention"; did you mean "service-intentions"?',
    'Kind = "http-route" Name = "x"': 'e.hcl:1:8: config entries of kind "http-route" are not supported yet',
    'Kind = ["x"]': "invalid config entry kind",
    f'Kind = "service-intentions" Sources = [{SOURCE}]': "Name is missing",
    'Kind = "service-intentions" Name = "x"': "at least one source is required",
    f'Kind = "service-intentions" Name = "we*" Sources = [{SOURCE}]': "a wildcard stands alone",
    f'Kind = "service-intentions" Name = "x" Sources = [{SOURCE}, {SOURCE}]': 'the source "web" is given twice, first at e.hcl:1:51',
    'Kind = "service-intentions" Name = "x" Sources = [{ Name = "a" }]': "give Action (allow or deny), or Permissions, one of them",
    'Kind = "service-intentions" Name = "x" Sources = [{ Name = "a" Action = "Allow" }]': 'expected one of "allow", "deny"',
    'Kind = "service-intentions" Name = "x" Sources = [{ Nme = "a" Action = "allow" }]': 'unknown key "Nme" in service-intentions.sources[0]; did you mean "name"?',
    'Kind = "service-intentions" Name = "x" Sources = [{ Name = "a" Action = "deny" Permissions = [{ Action = "allow" HTTP { PathExact = "/" } }] }]': "not both",
    'Kind = "service-intentions" Name = "x" Sources = [{ Name = "a" Permissions = [{ HTTP { PathExact = "/" } }] }]': "Action is missing",
    'Kind = "service-intentions" Name = "x" Sources = [{ Name = "a" Permissions = [{ Action = "allow" }] }]': "HTTP is missing",
    'Kind = "service-intentions" Name = "x" Sources = [{ Name = "a" Permissions = [{ Action = "allow" HTTP {} }] }]': "at least one condition",
    'Kind = "service-intentions" Name = "x" Sources = [{ Name = "a" Permissions = [{ Action = "allow" HTTP { PathExact = "/" PathPrefix = "/" } }] }]': "only one of PathExact",
    'Kind = "service-intentions" Name = "x" Sources = [{ Name = "a" Permissions = [{ Action = "allow" HTTP { PathExact = "x" } }] }]': "does not start with /",
    'Kind = "service-intentions" Name = "x" Sources = [{ Name = "a" Permissions = [{ Action = "allow" HTTP { PathRegex = "(" } }] }]': "invalid regular expression",
    'Kind = "service-intentions" Name = "x" Sources = [{ Name = "a" Permissions = [{ Action = "allow" HTTP { Methods = ["get"] } }] }]': '"get" is none of GET',
    'Kind = "service-intentions" Name = "x" Sources = [{ Name = "a" Permissions = [{ Action = "allow" HTTP { Header = [{ Name = "h" }] } }] }]': "exactly one of Present",
    'Kind = "service-defaults" Name = "*"': "use proxy-defaults for all",
    'Kind = "service-defaults" Name = "x" Protocol = "udp"': 'expected one of "tcp", "http", "http2", "grpc"',
    'Kind = "proxy-defaults" Name = "other"': 'expected one of "global"',
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_a_wrong_entry_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_config_entry(parse(text, "e.hcl"))
    assert message in str(caught.value)


def test_unknown_keys_of_a_body_are_refused_too() -> None:
    body = {"Kind": "service-intentions", "Name": "x", "Sources": [{"Name": "a", "Action": "deny", "Acton": "allow"}]}
    with pytest.raises(ConfigError, match='unknown key "Acton"'):
        decode_config_entry(body)


JSON = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=5), st.sampled_from(["allow", "service-intentions", "/x", "*", "("])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["Name", "Sources", "Action", "Permissions", "HTTP", "PathRegex", "Header", "Methods", "Config", "UpstreamConfig",
                 "Overrides", "Defaults", "Limits", "Meta", "Expose", "Paths", "x"]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=25,
)  # fmt: skip


@given(st.sampled_from(["service-intentions", "service-defaults", "proxy-defaults"]), JSON)
@settings(max_examples=400, deadline=None)
def test_no_entry_raises_anything_but_a_config_error(kind: str, body: Any) -> None:
    with suppress(ConfigError):
        decode_config_entry({**body, "Kind": kind} if isinstance(body, dict) else body)
