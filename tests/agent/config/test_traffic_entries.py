# ruff: noqa: E501 - a table of cases reads best with one case a line
"""Config entries of traffic in the forms people write them, and what is refused, with its place."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from chowk.agent.config.config_entries import decode_config_entry
from chowk.agent.config.parse import parse
from chowk.agent.config.problems import ConfigError, Problems
from chowk.core.codec import to_json
from chowk.core.records.config_entry import AnyConfigEntry

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
SOON = "2026-05-01T18:00:00Z"

ROUTERS = {
    "CamelCase with blocks in a list": """
        Kind = "service-router"
        Name = "web"
        Routes = [
          { Match { HTTP { PathPrefix = "/admin" } } Destination { Service = "admin", NumRetries = 3, RetryOnStatusCodes = [503] } },
          {
            Match { HTTP { Header = [{ Name = "x-debug" Exact = "1" }] QueryParam = [{ Name = "beta" Present = true }] Methods = ["GET"] } }
            Destination { ServiceSubset = "v2", RequestTimeout = "15s", PrefixRewrite = "" }
          },
        ]""",
    "snake_case with repeated blocks": """
        kind = "service-router"
        name = "web"
        routes {
          match { http { path_prefix = "/admin" } }
          destination { service = "admin" num_retries = 3 retry_on_status_codes = [503] }
        }
        routes = { match = { http = { header { name = "x-debug" exact = "1" }, query_param = { name = "beta", present = true } methods = "GET" } }
          destination = { service_subset = "v2" request_timeout = "15s" } }""",
    "JSON, as a Go client sends it": """{"Kind": "service-router", "Name": "web", "Routes": [
        {"Match": {"HTTP": {"PathPrefix": "/admin"}}, "Destination": {"Service": "admin", "NumRetries": 3, "RetryOnStatusCodes": [503]}},
        {"Match": {"HTTP": {"Header": [{"Name": "x-debug", "Exact": "1"}], "QueryParam": [{"Name": "beta", "Present": true}], "Methods": ["GET"]}},
         "Destination": {"ServiceSubset": "v2", "RequestTimeout": "15s", "Partition": "default"}}], "CreateIndex": 4, "ModifyIndex": 8}""",
}


def shown_of(entry: Any) -> Any:
    return json.loads(to_json(entry))


def entry_of(text: str) -> AnyConfigEntry:
    found = decode_config_entry(parse(text, "e.hcl"), now=NOW)
    assert found is not None
    return found


@pytest.mark.parametrize("text", ROUTERS.values(), ids=ROUTERS.keys())
def test_all_ways_to_write_a_router_are_read_back_as_consul_s_clients_decode_it(text: str) -> None:
    shown = shown_of(entry_of(text))
    shown["Routes"][1]["Destination"].pop("Partition", None)
    assert shown == {
        "Kind": "service-router",
        "Name": "web",
        "Routes": [
            {
                "Match": {"HTTP": {"PathPrefix": "/admin"}},
                "Destination": {"Service": "admin", "NumRetries": 3, "RetryOnStatusCodes": [503]},
            },
            {
                "Match": {
                    "HTTP": {
                        "Header": [{"Name": "x-debug", "Exact": "1"}],
                        "QueryParam": [{"Name": "beta", "Present": True}],
                        "Methods": ["GET"],
                    }
                },
                "Destination": {"ServiceSubset": "v2", "RequestTimeout": "15s"},
            },
        ],
    }


WHOLE = {
    "service-resolver": """
        Kind = "service-resolver"
        Name = "web"
        DefaultSubset = "v1"
        ConnectTimeout = "15s"
        RequestTimeout = "1m30s"
        Subsets = {
          "v1" = { Filter = "Service.Meta.version == v1" }
          v2 = { Filter = "\\"canary\\" in Service.Tags" OnlyPassing = true }
        }
        Failover = {
          v1 = { Targets = [{ Service = "web-backup" }, { Datacenter = "dc2" }] Policy = { Mode = "sequential" Regions = ["eu-west"] } }
          "*" = { ServiceSubset = "v2" Datacenters = ["dc3"] }
        }
        LoadBalancer = {
          Policy = "maglev"
          HashPolicies = [
            { Field = "header" FieldValue = "x-user-id" Terminal = true },
            { Field = "cookie" FieldValue = "sid" CookieConfig = { TTL = "7200s" Path = "/x" } },
            { SourceIP = true },
          ]
        }
        PrioritizeByLocality = { Mode = "failover" }
        Meta = { team = "shop" }""",
    "service-splitter": """
        Kind = "service-splitter"
        Name = "web"
        Splits = [
          { Weight = 99.5, ServiceSubset = "v1", RequestHeaders { Set { "x-version" = "v1" } Remove = ["x-old"] } },
          { Weight = 0.5, ServiceSubset = "v2" },
        ]
        Sticky = { Cookie = "canary" TTL = "1h" }""",
    "mesh": """
        Kind = "mesh"
        AllowedRegions = ["eu-west", "eu-central"]
        TLS { Incoming { TLSMinVersion = "TLSv1_2" } Outgoing { TLSMinVersion = "TLSv1_2" } }
        HTTP { SanitizeXForwardedClientCert = true Incoming { RequestNormalization { MergeSlashes = true PathWithEscapedSlashesAction = "REJECT_REQUEST" } } }""",
    "service-defaults": """
        Kind = "service-defaults"
        Name = "web"
        Protocol = "http"
        RateLimits { InstanceLevel { RequestsPerSecond = 1000 RequestsMaxBurst = 1500 Routes = [{ PathPrefix = "/api" RequestsPerSecond = 50 }] } Callers = [{ Name = "*" RequestsPerSecond = 10 }] }
        Concurrency { Limit = 200 Adaptive = true LimitMin = 10 PriorityHeader = "x-priority" TrustedCallers = ["edge"] Fallback { Status = 503 Body = "later" } }
        IntentionMode = "permissive"
        UpstreamConfig { Defaults { ConnectTimeoutMs = 3000 } }""",
    "proxy-defaults": """
        Kind = "proxy-defaults"
        Name = "global"
        Config { protocol = "http" }
        AccessLogs { Enabled = true Type = "file" Path = "/var/log/mesh.log" SamplePercent = 10 }
        PrioritizeByLocality { Mode = "failover" }""",
}


@pytest.mark.parametrize("text", WHOLE.values(), ids=WHOLE.keys())
def test_what_is_written_comes_back_as_written_and_is_the_same_when_it_is_written_again(text: str) -> None:
    entry = entry_of(text)
    shown = shown_of(entry)
    assert decode_config_entry(shown, now=NOW) == entry
    assert msgspec.convert(shown, AnyConfigEntry) == entry
    assert "None" not in str(shown)


def test_a_resolver_comes_back_with_the_durations_and_blocks_that_were_written() -> None:
    shown = shown_of(entry_of(WHOLE["service-resolver"]))
    assert (shown["ConnectTimeout"], shown["RequestTimeout"]) == ("15s", "1m30s")
    assert shown["Subsets"]["v1"] == {"Filter": "Service.Meta.version == v1"}
    assert shown["Subsets"]["v2"]["OnlyPassing"] is True
    assert shown["Failover"]["v1"]["Targets"] == [{"Service": "web-backup"}, {"Datacenter": "dc2"}]
    assert shown["LoadBalancer"]["HashPolicies"][1]["CookieConfig"] == {"TTL": "7200s", "Path": "/x"}
    assert shown["LoadBalancer"]["HashPolicies"][2] == {"SourceIP": True}
    assert "Redirect" not in shown


def test_nanoseconds_of_a_body_are_the_duration_that_go_prints() -> None:
    body = {"Kind": "service-resolver", "Name": "web", "ConnectTimeout": 15_000_000_000, "RequestTimeout": 250_000_000}
    shown = shown_of(decode_config_entry(body))
    assert (shown["ConnectTimeout"], shown["RequestTimeout"]) == ("15s", "250ms")
    assert "ConnectTimeout" not in shown_of(decode_config_entry({**body, "ConnectTimeout": 0}))


def router(destination: str, match: str = 'PathPrefix = "/x"') -> str:
    return f'Kind = "service-router"\nName = "web"\nRoutes = [{{\nMatch {{ HTTP {{ {match} }} }}\nDestination {{\n{destination}\n}} }}]'


def fault(text: str) -> str:
    return router(f"Fault {{\n{text}\n}}")


def splits(text: str, more: str = "") -> str:
    return f'Kind = "service-splitter"\nName = "web"\nSplits = [\n{text}\n]\n{more}'


def resolver(text: str) -> str:
    return f'Kind = "service-resolver"\nName = "web"\n{text}'


def mesh(text: str) -> str:
    return f'Kind = "mesh"\nHTTP {{ Incoming {{ RequestNormalization {{\n{text}\n}} }} }}'


def defaults(text: str) -> str:
    return f'Kind = "service-defaults"\nName = "web"\n{text}'


WRONG = {
    # splits
    splits('{ Weight = 90 ServiceSubset = "a" },\n{ Weight = 9 ServiceSubset = "b" }'): "e.hcl:3:10: service-splitter.splits: the sum of all split weights must be 100, not 99 (90 + 9)",
    splits('{ Weight = -5 ServiceSubset = "a" },\n{ Weight = 105 ServiceSubset = "b" }'): "e.hcl:4:12: service-splitter.splits[0].weight: found the number -5, expected a number from 0 to 100",
    splits("{ Weight = 99.999 },\n{ Weight = 0.001 Service = \"b\" }"): "splits[0].weight: 99.999 is finer than 0.01",
    splits('{ Weight = 50 },\n{ Weight = 50 Service = "web" }'): "e.hcl:5:1: service-splitter.splits[1]: goes where Splits[0] goes",
    splits('{ Service = "web" }'): "e.hcl:4:1: service-splitter.splits[0]: weight is missing: percent, to 0.01",
    splits(""): "no splits configured",
    splits("{ Weight = 100 }", 'Sticky { Header = "a" Cookie = "b" }'): "give Header or Cookie, not both",
    splits("{ Weight = 100 Wieght = 1 }"): 'unknown key "Wieght" in service-splitter.splits[0]; did you mean "weight"?',
    # routes
    router('Service = "a"', 'PathPrefix = "/x" PathExact = "/y"'): "only one of PathExact, PathPrefix and PathRegex",
    router('Service = "a"', 'PathExact = "x"'): "e.hcl:4:28: service-router.routes[0].match.http.path_exact: doesn't start with '/': \"x\"",
    router('Service = "a"', 'PathRegex = "(a{1000}){1000}"'): "invalid regular expression",
    router('Service = "a"', 'PathRegex = "(?=x)"'): "lookaround and back references are not supported",
    router('Service = "a"', f'PathRegex = "{"x" * 1025}"'): "is too long (limit: 1024 characters)",
    router('Service = "a"', 'Header = [{ Name = "h" Exact = "a" Prefix = "b" }]'): "exactly one of Present, Exact, Prefix, Suffix, Contains, Regex must be given; Exact and Prefix are",
    router('Service = "a"', 'Header = [{ Name = "h b" Present = true }]'): '"h b" is no header name',
    router('Service = "a"', 'QueryParam = [{ Present = true }]'): "name is missing: the parameter",
    router('Service = "a"', 'Methods = ["get"]'): '"get" is no method (write GET)',
    router('PrefixRewrite = "/y"', 'PathRegex = "/x"'): "cannot make use of PrefixRewrite without configuring either PathExact or PathPrefix",
    router("RequestTimeout = 15"): 'e.hcl:6:18: service-router.routes[0].destination.request_timeout: found the number 15, expected a duration with its unit, like "1.5s", "250ms" or "1h30m": write "15s" for seconds, "15ms" for milliseconds',
    router('RequestTimeout = "15"'): 'found the string "15", expected a duration with its unit',
    router('RequestTimeout = "30ns"'): '"30ns" is under a millisecond: a bare number is nanoseconds, so write a unit ("30s")',
    router('RequestTimeout = "-1s"'): '"-1s" is not between 0s and 24h0m0s',
    router('RequestTimeout = "1s" PerTryTimeout = "2s"'): "is longer than RequestTimeout (1s)",
    router("RetryOnStatusCodes = [50]"): "50 is no HTTP status",
    router('RetryOn = ["5xxx"]'): 'contains an invalid retry condition: "5xxx"',
    router('RequestHeaders { Set { "Content-Length" = "1" } }'): '"Content-Length" belongs to the connection and cannot be edited',
    router('ResponseHeaders { Add { "x" = "a\\r\\nb: c" } }'): "control character",
    router('Redirect { Host = "a.example" } Service = "b"'): "destination.service: has no effect beside Redirect",
    router("Redirect { Status = 200 }"): "200 is no redirect",
    router('Redirect { Scheme = "ftp" }'): "neither http nor https",
    router('Mirror { Service = "shadow" Percent = 120 }'): "expected a number from 0 to 100",
    router("Mirror { Percent = 20 }"): "service is missing: who gets the copies",
    router("Fallback { Status = 99 }"): "99 is no status of a final answer",
    # faults
    fault(f'Delay {{ Percent = 100 Duration = "5s" }}\nExpires = "{SOON}"'): "e.hcl:7:19: service-router.routes[0].destination.fault.delay.percent: 100 percent is over max_percent, which is 5",
    fault(f'Delay {{ Percent = 10 Duration = "5s" }}\nMaxPercent = 200\nExpires = "{SOON}"'): "e.hcl:8:14: service-router.routes[0].destination.fault.max_percent: found the number 200, expected a number from 0 to 100",
    fault('Delay { Percent = 1 Duration = "5s" }'): "fault: expires is missing: when it ends, at most 24h from now",
    fault('Delay { Percent = 1 Duration = "5s" }\nExpires = "tomorrow"'): '"tomorrow" is no time of RFC 3339',
    fault('Delay { Percent = 1 Duration = "5s" }\nExpires = "2026-05-01T18:00:00"'): "is no time of RFC 3339",
    fault('Delay { Percent = 1 Duration = "5s" }\nExpires = "2026-05-01T11:00:00Z"'): "e.hcl:8:11: service-router.routes[0].destination.fault.expires: 2026-05-01T11:00:00Z is over",
    fault('Delay { Percent = 1 Duration = "5s" }\nExpires = "2026-05-03T12:00:00Z"'): "is more than 24h away",
    fault(f'Delay {{ Percent = 1 Duration = "1h" }}\nExpires = "{SOON}"'): '"1h" is not between 1ms and 5m0s',
    fault(f'Delay {{ Percent = 1 }}\nExpires = "{SOON}"'): "duration is missing",
    fault(f'Delay {{ Percent = 0 Duration = "1s" }}\nExpires = "{SOON}"'): "0 is no percentage (from over 0 to 100",
    fault(f'Delay {{ Percent = "0.1%" Duration = "1s" }}\nExpires = "{SOON}"'): 'found the string "0.1%", expected a number from 0 to 100',
    fault(f'Abort {{ Percent = 1 Status = 200 }}\nExpires = "{SOON}"'): "200 is no error: use 400 to 599",
    fault(f'Expires = "{SOON}"'): "give Delay, Abort, or both",
    # resolvers
    resolver('ConnectTimeout = 5'): 'e.hcl:3:18: service-resolver.connect_timeout: found the number 5',
    resolver('DefaultSubset = "v3"\nSubsets = { v1 = {} }'): 'e.hcl:3:17: service-resolver.default_subset: "v3" is not a valid subset of "web" (it has: v1)',
    resolver('Subsets = { "V 1" = {} }'): "is no name of a subset",
    resolver('Subsets = { v1 = { Filter = "Service.Meta.version = v1" } }'): "service-resolver.subsets.v1.filter: is no filter of service instances",
    resolver('Subsets = { v1 = { Filter = "Nope == v1" } }'): 'Selector "Nope" is not valid',
    resolver('Failover = { "*" = {} }'): "one of Service, ServiceSubset, Datacenters and Targets is required",
    resolver('Failover = { v9 = { Service = "b" } }'): '"v9" is not a valid subset of "web" (it has: none); write "*"',
    resolver('Failover = { "*" = { ServiceSubset = "v9" } }'): "failover.*.service_subset: \"v9\" is not a valid subset",
    resolver('Failover = { "*" = { Targets = [{}] } }'): "names nothing else than what failed",
    resolver('Failover = { "*" = { Service = "b" Targets = [{ Service = "c" }] } }'): "cannot be given with Service",
    resolver('Redirect {}'): "Redirect is empty",
    resolver('Redirect { Service = "web" }'): "redirects to itself",
    resolver('Redirect { Service = "b" }\nSubsets = { v1 = {} }'): "exclude each other",
    resolver('Redirect { ServiceSubset = "v1" }'): "Redirect.ServiceSubset defined without Redirect.Service",
    resolver('LoadBalancer { Policy = "fastest" }'): 'expected one of "peak_ewma", "random"',
    resolver('LoadBalancer { Policy = "random" HashPolicies = [{ SourceIP = true }] }'): "specified for the non-hash-based policy",
    resolver('LoadBalancer { Policy = "maglev" HashPolicies = [{ SourceIP = true Field = "header" FieldValue = "x" }] }'): "cannot hash both a source address and a header",
    resolver('LoadBalancer { Policy = "maglev" HashPolicies = [{ Field = "header" }] }'): "field_value: is missing",
    resolver('LoadBalancer { Policy = "maglev" HashPolicies = [{ Field = "cookie" FieldValue = "s" CookieConfig { Session = true TTL = "1s" } }] }'): "a session cookie cannot have a TTL",
    # mesh
    mesh("InsecureDisablePathNormalization = true"): "e.hcl:3:36: mesh.http.incoming.request_normalization.insecure_disable_path_normalization: is refused",
    mesh('PathWithEscapedSlashesAction = "KEEP_UNCHANGED"'): "KEEP_UNCHANGED is refused",
    'Kind = "mesh" Name = "other"': 'expected one of "mesh"',
    'Kind = "mesh" AllowedRegions = [""]': "is no name of a region",
    'Kind = "mesh" TLS { Incoming { TLSMaxVersion = "TLSv1_2" } }': "the mesh speaks TLS 1.3",
    # limits
    defaults("RateLimits { InstanceLevel { RequestsPerSecond = -1 } }"): "expected a whole number of at least 0",
    defaults("RateLimits { InstanceLevel { RequestsMaxBurst = 5 } }"): "needs RequestsPerSecond",
    defaults('RateLimits { InstanceLevel { Routes = [{ PathPrefix = "/x" RequestsPerSecond = 0 }] } }'): "routes[0].requests_per_second: is missing, or 0",
    defaults("RateLimits { InstanceLevel { Routes = [{ RequestsPerSecond = 1 }] } }"): "one of PathExact, PathPrefix and PathRegex must be given",
    defaults('RateLimits { Callers = [{ Name = "a" RequestsPerSecond = 1 }, { Name = "a" RequestsPerSecond = 1 }] }'): '"a" is given more than once',
    defaults("Concurrency { Limit = 0 }\nIntentionMode = \"off\""): 'expected one of "enforce", "permissive"',
    defaults('Concurrency { PriorityHeader = "x-p" }'): "concurrency.limit: is missing, or 0",
    defaults("Concurrency { Limit = 5 LimitMin = 3 }"): "is of adaptive limits",
    defaults("Concurrency { Limit = 5 Adaptive = true LimitMin = 9 }"): "is over limit (5)",
    'Kind = "proxy-defaults" AccessLogs { Type = "file" }': "an absolute path",
    'Kind = "proxy-defaults" AccessLogs { SamplePercent = 101 }': "expected a number from 0 to 100",
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=[str(number) for number in range(len(WRONG))])
def test_a_wrong_entry_is_refused_with_its_place_and_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        entry_of(text)
    assert message in str(caught.value)
    assert "e.hcl:" in str(caught.value)


def test_thirds_may_be_a_hundredth_short() -> None:
    entry_of(splits('{ Weight = 33.33 },\n{ Weight = 33.33 Service = "b" },\n{ Weight = 33.33 Service = "c" }'))


def test_force_lifts_the_guard_on_a_percentage_by_writing_it_up_and_never_the_end() -> None:
    text = fault(f'Delay {{ Percent = 100 Duration = "5s" }}\nExpires = "{SOON}"')
    shown = shown_of(decode_config_entry(parse(text, "e.hcl"), now=NOW, force=True))
    assert shown["Routes"][0]["Destination"]["Fault"] == {
        "Delay": {"Percent": 100.0, "Duration": "5s"}, "MaxPercent": 100.0, "Expires": SOON,
    }  # fmt: skip
    far = (datetime.fromtimestamp(NOW, UTC) + timedelta(hours=25)).isoformat()
    with pytest.raises(ConfigError, match="more than 24h away"):
        decode_config_entry(parse(text.replace(SOON, far), "e.hcl"), now=NOW, force=True)


def test_a_route_that_nothing_reaches_is_a_warning() -> None:
    problems = Problems()
    text = 'Kind = "service-router" Name = "web" Routes = [\n{ Destination { Service = "a" } },\n{ Match { HTTP { PathPrefix = "/x" } } }]'
    assert decode_config_entry(parse(text, "e.hcl"), problems) is not None
    assert problems.warnings == [
        "e.hcl:3:1: service-router.routes[1] is never reached: routes[0] takes every request, and the first that matches decides"
    ]


def test_mutual_tls_mode_is_taken_with_a_warning() -> None:
    problems = Problems()
    assert decode_config_entry(parse(defaults('MutualTLSMode = "strict"'), "e.hcl"), problems) is not None
    assert "mutual_tls_mode" in problems.warnings[0]
