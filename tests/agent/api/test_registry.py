"""The registry over HTTP, before a real server room: shapes, blocking, cached reads, intentions, config, the CA."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from chowk.core.records.ca import CAConfiguration
from chowk.core.requests import CA_CONFIGURATION, HEALTH_INSTANCES, CAConfigurationReply, InstancesReply, QueryMeta
from support.http_api import Answer, Api, with_api, with_registry

WEB1 = {
    "ID": "40e4a748-2192-161a-0510-9bf59fe950b5",
    "Node": "n1",
    "Address": "10.0.0.1",
    "TaggedAddresses": {"lan": "10.0.0.1"},
    "NodeMeta": {"rack": "7"},
    "Service": {
        "ID": "web-1",
        "Service": "web",
        "Tags": ["v1"],
        "Port": 80,
        "Meta": {"k": "v"},
        "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 8080}},
        "Weights": {"Passing": 3, "Warning": 1},
    },
    "Check": {"Name": "alive", "Status": "passing", "ServiceID": "web-1", "Output": "ok"},
}
WEB2 = {
    "Node": "n2",
    "Address": "10.0.0.2",
    "Service": {"ID": "web-2", "Service": "web", "Tags": ["v2"], "Port": 81},
    "Checks": [{"CheckID": "c2", "Name": "alive", "Status": "critical", "ServiceID": "web-2"}],
}
PROXY = {
    "Node": "n1",
    "Address": "10.0.0.1",
    "SkipNodeUpdate": True,
    "Service": {
        "Kind": "connect-proxy",
        "Service": "web-sidecar-proxy",
        "Port": 21000,
        "Proxy": {"DestinationServiceName": "web", "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9001}]},
    },
}


async def fill(api: Api) -> None:
    for body in (WEB1, WEB2, PROXY):
        answer = await api.put("/v1/catalog/register", body)
        assert (answer.status, answer.text) == (200, "true")


def names(answer: Answer) -> list[str]:
    return [row["Service"]["ID"] for row in answer.json()]


def test_a_health_row_has_consuls_shape_field_by_field(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await fill(api)
        row = (await api.get("/v1/health/service/web?passing")).json()[0]
        index = row["Service"]["CreateIndex"]
        assert row["Node"] == {
            "ID": WEB1["ID"], "Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1",
            "TaggedAddresses": {"lan": "10.0.0.1"}, "Meta": {"rack": "7"}, "CreateIndex": index, "ModifyIndex": index,
        }  # fmt: skip
        expected = {
            "Kind": "", "ID": "web-1", "Service": "web", "Tags": ["v1"], "Address": "", "Meta": {"k": "v"}, "Port": 80,
            "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 8080}}, "SocketPath": "",
            "Weights": {"Passing": 3, "Warning": 1}, "EnableTagOverride": False, "Connect": {},
            "CreateIndex": index, "ModifyIndex": index,
        }  # fmt: skip
        assert {key: row["Service"][key] for key in expected} == expected
        assert row["Checks"] == [
            {
                "Node": "n1", "CheckID": "alive", "Name": "alive", "Status": "passing", "Notes": "", "Output": "ok",
                "ServiceID": "web-1", "ServiceName": "web", "ServiceTags": ["v1"], "Type": "", "Interval": "",
                "Timeout": "", "ExposedPort": 0, "Definition": {}, "CreateIndex": index, "ModifyIndex": index,
            }
        ]  # fmt: skip

    with_registry(tmp_path, body)


def test_a_catalog_row_is_the_instance_and_its_node_flattened(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await fill(api)
        row = (await api.get("/v1/catalog/service/web?tag=v1")).json()[0]
        index = row["CreateIndex"]
        row.pop("ServiceProxy")
        assert row == {
            "ID": WEB1["ID"], "Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1",
            "TaggedAddresses": {"lan": "10.0.0.1"}, "NodeMeta": {"rack": "7"}, "ServiceKind": "", "ServiceID": "web-1",
            "ServiceName": "web", "ServiceTags": ["v1"], "ServiceAddress": "", "ServicePort": 80, "ServiceConnect": {},
            "ServiceTaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 8080}}, "ServiceMeta": {"k": "v"},
            "ServiceWeights": {"Passing": 3, "Warning": 1}, "ServiceSocketPath": "", "ServiceEnableTagOverride": False,
            "CreateIndex": index, "ModifyIndex": index,
        }  # fmt: skip
        proxy = (await api.get("/v1/catalog/connect/web")).json()[0]["ServiceProxy"]
        assert proxy["DestinationServiceName"] == "web"
        assert proxy["Upstreams"][0]["LocalBindPort"] == 9001

    with_registry(tmp_path, body)


def test_lists_narrow_by_tag_meta_health_and_filter(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await fill(api)
        for query, expected in (
            ("", ["web-1", "web-2"]),
            ("?passing", ["web-1"]),
            ("?passing=false", ["web-1", "web-2"]),
            ("?tag=V2", ["web-2"]),
            ("?tag=v1&tag=v2", []),
            ("?node-meta=rack:7", ["web-1"]),
            ("?near=_agent", ["web-1", "web-2"]),
            ("?filter=Service.Port%20==%2081", ["web-2"]),
            ("?filter=v1+in+Service.Tags", ["web-1"]),
            ("?filter=Node.Meta.rack%20is%20empty&cached", ["web-2"]),
            ("?cached", ["web-1", "web-2"]),
            ("?stale", ["web-1", "web-2"]),
            ("?consistent", ["web-1", "web-2"]),
        ):
            assert names(await api.get(f"/v1/health/service/web{query}")) == expected, query
        assert names(await api.get("/v1/health/connect/web")) == ["web-sidecar-proxy"]
        assert (await api.get("/v1/catalog/services")).json() == {"web": ["v1", "v2"], "web-sidecar-proxy": []}
        assert (await api.get("/v1/catalog/services?node-meta=rack:7")).json() == {
            "web": ["v1"],
            "web-sidecar-proxy": [],
        }
        assert [row["Node"] for row in (await api.get("/v1/catalog/nodes?filter=Meta.rack==7")).json()] == ["n1"]
        states = {s: len((await api.get(f"/v1/health/state/{s}")).json()) for s in ("any", "passing", "critical")}
        assert states == {"any": 2, "passing": 1, "critical": 1}
        assert len((await api.get("/v1/health/node/n1")).json()) == 1
        assert len((await api.get("/v1/health/checks/web?node-meta=rack:7")).json()) == 1

    with_registry(tmp_path, body)


def test_what_is_missing_is_an_empty_list_but_a_missing_node_is_null(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for path, expected in (
            ("/v1/catalog/nodes", "[]"),
            ("/v1/catalog/services", "{}"),
            ("/v1/catalog/service/x", "[]"),
            ("/v1/catalog/connect/x", "[]"),
            ("/v1/catalog/node/x", "null"),
            ("/v1/catalog/node-services/x", '{"Node":null,"Services":[]}'),
            ("/v1/health/node/x", "[]"),
            ("/v1/health/checks/x", "[]"),
            ("/v1/health/service/x", "[]"),
            ("/v1/health/service/x?cached", "[]"),
            ("/v1/health/connect/x", "[]"),
            ("/v1/health/state/any", "[]"),
            ("/v1/connect/intentions", "[]"),
            ("/v1/connect/intentions/match?by=source&name=x", '{"x":[]}'),
            ("/v1/config/service-defaults", "[]"),
        ):
            answer = await api.get(path)
            assert (answer.status, answer.text) == (200, expected), path
            assert int(answer.headers["X-Consul-Index"]) >= 1, path
        for path, text in (
            ("/v1/health/service/", "Missing service name"),
            ("/v1/catalog/service/", "Missing service name"),
            ("/v1/health/node/", "Missing node name"),
            ("/v1/catalog/node/", "Missing node name"),
            ("/v1/health/service/x?index=abc", "Invalid index"),
            ("/v1/health/service/x?wait=abc&index=1", "Invalid wait time"),
        ):
            answer = await api.get(path)
            assert (answer.status, answer.text) == (400, text), path

    with_registry(tmp_path, body)


@pytest.mark.parametrize("extra", ["", "&cached"])
def test_a_blocking_read_wakes_for_its_own_service_and_not_for_another(tmp_path: Path, extra: str) -> None:
    async def body(api: Api) -> None:
        await fill(api)
        first = await api.get(f"/v1/health/service/web?x{extra}")
        index = first.headers["X-Consul-Index"]
        path = f"/v1/health/service/web?index={index}&wait=20s{extra}"
        waiting = asyncio.ensure_future(api.get(path))
        await api.put("/v1/catalog/register", {"Node": "n3", "Address": "10.0.0.3", "Service": {"Service": "other"}})
        await api.get("/v1/health/service/other")
        assert not waiting.done()
        await api.put("/v1/catalog/deregister", {"Node": "n2", "ServiceID": "web-2"})
        answer = await waiting
        assert names(answer) == ["web-1"]
        assert int(answer.headers["X-Consul-Index"]) > int(index)

    with_registry(tmp_path, body)


def test_a_missing_service_blocks_too_and_a_wait_ends_by_itself(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await fill(api)
        waiting = asyncio.ensure_future(api.get("/v1/health/service/db?index=1&wait=20s"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await api.put("/v1/catalog/register", {"Node": "n3", "Address": "10.0.0.3", "Service": {"Service": "db"}})
        assert names(await waiting) == ["db"]
        index = (await api.get("/v1/health/service/db")).headers["X-Consul-Index"]
        assert names(await api.get(f"/v1/health/service/db?index={index}&wait=30ms")) == ["db"]

    with_registry(tmp_path, body)


def test_cached_reads_say_so_and_go_on_when_the_servers_are_gone(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await fill(api)
        for path in ("/v1/health/service/web", "/v1/catalog/service/web", "/v1/catalog/nodes", "/v1/catalog/services"):
            assert "X-Cache" not in (await api.get(path)).headers
            await api.get(f"{path}?cached")
            hit = await api.get(f"{path}?cached")
            assert (hit.headers["X-Cache"], hit.headers["Age"]) == ("HIT", "0"), path
            assert hit.headers["X-Consul-Effective-Consistency"] == "stale"
        await api.server.server.stop()
        known = await api.get("/v1/health/service/web?cached")
        assert names(known) == ["web-1", "web-2"]
        assert known.headers["X-Cache"] == "HIT"

    with_registry(tmp_path, body)


def test_cached_reads_of_names_nobody_registered_open_no_views(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await fill(api)
        for number in range(100):
            assert (await api.get(f"/v1/health/service/random-{number}?cached")).text == "[]"
            assert (await api.get(f"/v1/catalog/connect/random-{number}?cached")).text == "[]"
        assert len(api.context.views) == 1
        assert names(await api.get("/v1/health/service/WEB?cached")) == ["web-1", "web-2"]
        waiting = asyncio.ensure_future(api.get("/v1/health/service/db?cached&index=1&wait=20s"))
        first = (await waiting).headers["X-Consul-Index"]
        waiting = asyncio.ensure_future(api.get(f"/v1/health/service/db?cached&index={first}&wait=20s"))
        await api.put("/v1/catalog/register", {"Node": "n3", "Address": "10.0.0.3", "Service": {"Service": "db"}})
        assert names(await waiting) == ["db"]

    with_registry(tmp_path, body)


def test_an_answer_older_than_max_stale_is_asked_of_the_leader(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        asked: list[str] = []

        def answer(request: Any) -> InstancesReply:
            asked.append(request.options.consistency)
            return InstancesReply(meta=QueryMeta(index=2, last_contact_ms=9000 if len(asked) == 1 else 0), instances=())

        api.server.answer(HEALTH_INSTANCES, answer)
        assert (await api.get("/v1/health/service/web?max_stale=5s")).headers["X-Consul-LastContact"] == "0"
        assert asked == ["stale", "default"]
        assert (await api.get("/v1/health/service/web?max_stale=10s")).status == 200
        assert len(asked) == 3

    with_api(tmp_path, body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "Must provide node"),
        ({"Node": "n"}, "Must provide address if SkipNodeUpdate is not set"),
        ({"Node": "n", "Address": "a", "ID": "x"}, 'Bad node ID: "x" is not a UUID'),
        ({"Node": "n", "Address": "a", "Service": {"ID": "x"}}, "Must provide service name (Service.Service) with ID"),
        ({"Node": "n", "Address": "a", "Service": {"Service": "x", "Port": 70000}}, "Invalid port 70000"),
        ({"Node": "n", "Address": "a", "Service": {"Service": "x", "Prot": 1}}, 'unknown field "Prot" in "Service"'),
        ({"Node": "n", "Address": "a", "Service": {"Service": "x", "Tags": "a"}}, "Expected `array`, got `str`"),
        ({"Node": "n", "Address": "a", "Service": {"Service": "x", "Namespace": "y"}}, "Namespaces are not supported"),
        ({"Node": "n", "Address": "a", "Check": {"Name": "c", "Status": "fine"}}, 'Invalid check status "fine"'),
        ({"Node": "n", "Address": "a", "Check": {"Node": "m", "Name": "c"}}, 'check node "m" does not match node "n"'),
        ({"Node": "n", "Address": "a", "Check": {}}, "Must provide a CheckID or a Name"),
        ({"Node": 5, "Address": "a"}, "Request decode failed: Expected `str`, got `int` - at `$.Node`"),
        ({"Node": "n", "Address": "a", "NodeMeta": {"k": 1}}, "Expected `str`, got `int`"),
    ],
)
def test_a_registration_that_cannot_be_is_refused_and_says_why(tmp_path: Path, body: Any, text: str) -> None:
    async def run(api: Api) -> None:
        answer = await api.put("/v1/catalog/register", body)
        assert answer.status == 400
        assert text in answer.text
        assert (await api.get("/v1/catalog/nodes")).json() == []

    with_registry(tmp_path, run)


def test_bodies_take_what_clients_send_beside_and_any_case_of_keys(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        sent = {
            "datacenter": "dc1", "node": "n1", "ADDRESS": "10.0.0.1", "Partition": "default", "TaggedAddresses": None,
            "Service": {"service": "web", "Tags": None, "Meta": None, "Namespace": "default", "ModifyIndex": 7, "Proxy": {}},
            "Check": None,
        }  # fmt: skip
        assert (await api.put("/v1/catalog/register", sent)).text == "true"
        assert names(await api.get("/v1/health/service/web")) == ["web"]
        other = await api.put("/v1/catalog/register", {**sent, "datacenter": "mars"})
        assert (other.status, other.text) == (500, "No path to datacenter")

    with_registry(tmp_path, body)


def test_intentions_are_written_read_matched_checked_and_removed(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        exact = "/v1/connect/intentions/exact?source=web&destination=db"
        missing = await api.get(exact)
        assert (missing.status, missing.text) == (404, "Intention not found")
        assert int(missing.headers["X-Consul-Index"]) >= 1
        assert (await api.put(exact, {"Action": "deny", "Description": "no"})).text == "true"
        found = (await api.get(exact)).json()
        assert (found["SourceName"], found["DestinationName"], found["Action"]) == ("web", "db", "deny")
        assert (found["Precedence"], found["SourceNS"], found["SourceType"]) == (9, "default", "consul")
        assert (await api.put(exact.replace("=web", "=default/web"), found)).text == "true"
        check = (await api.get("/v1/connect/intentions/check?source=web&destination=db")).json()
        assert check["Allowed"] is False
        assert (await api.get("/v1/connect/intentions/check?source=a&destination=db")).json()["Allowed"] is True
        match = (await api.get("/v1/connect/intentions/match?by=destination&name=db&name=x")).json()
        assert [row["SourceName"] for row in match["db"]] == ["web"]
        assert match["x"] == []
        filtered = await api.get("/v1/connect/intentions?filter=SourceName==nobody")
        assert filtered.json() == []
        assert (await api.ask("DELETE", exact)).text == "true"
        assert (await api.get("/v1/connect/intentions")).json() == []

    with_registry(tmp_path, body)


def test_the_deprecated_intentions_by_id_still_work(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        sent = {"SourceName": "web", "DestinationName": "db", "Action": "allow", "SourceType": "consul"}
        made = (await api.ask("POST", "/v1/connect/intentions", json=sent)).json()["ID"]
        again = await api.ask("POST", "/v1/connect/intentions", json=sent)
        assert (again.status, again.text) == (400, "duplicate intention found: web => db")
        assert (await api.get(f"/v1/connect/intentions/{made}")).json()["Action"] == "allow"
        assert (await api.put(f"/v1/connect/intentions/{made}", {"Action": "deny"})).json() == {"ID": made}
        assert (await api.get(f"/v1/connect/intentions/{made}")).json()["Action"] == "deny"
        moved = await api.put(f"/v1/connect/intentions/{made}", {"Action": "deny", "SourceName": "x"})
        assert moved.status == 400
        assert (await api.ask("DELETE", f"/v1/connect/intentions/{made}")).text == "true"
        assert (await api.get(f"/v1/connect/intentions/{made}")).status == 404
        assert (await api.get("/v1/connect/intentions/not-a-uuid")).status == 400

    with_registry(tmp_path, body)


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        ("GET", "exact?source=a", None, "required query parameter 'destination' not set"),
        ("GET", "check?destination=a", None, "required query parameter 'source' not set"),
        ("GET", "match?name=a", None, "required query parameter 'by' not set"),
        ("GET", "match?by=colour&name=a", None, "'by' parameter must be one of 'source' or 'destination'"),
        ("GET", "match?by=source", None, "required query parameter 'name' not set"),
        ("GET", "exact?source=ns/a&destination=b", None, "namespaces are not supported"),
        ("PUT", "exact?source=a&destination=b", {"Action": "maybe"}, "Action must be set to 'allow' or 'deny'"),
        ("PUT", "exact?source=a&destination=b", {}, "Action must be set to 'allow' or 'deny'"),
        ("PUT", "exact?source=a&destination=b", {"Action": "deny", "SourceName": "z"}, 'SourceName "z" in the body'),
        ("PUT", "exact?source=a&destination=b", {"Acton": "deny"}, 'unknown field "Acton"'),
        (
            "PUT",
            "exact?source=a&destination=b",
            {"Action": "deny", "Permissions": [{"Action": "allow", "HTTP": {"PathExact": "/"}}]},
            "Action must be omitted if Permissions are specified",
        ),
    ],
)
def test_a_wrong_intention_request_is_refused_in_consuls_words(
    tmp_path: Path, method: str, path: str, body: Any, text: str
) -> None:
    async def run(api: Api) -> None:
        answer = await api.ask(method, f"/v1/connect/intentions/{path}", **({} if body is None else {"json": body}))
        assert answer.status == 400
        assert text in answer.text

    with_registry(tmp_path, run)


def test_config_entries_are_written_with_cas_read_and_removed(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        entry = {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}
        assert (await api.put("/v1/config", entry)).text == "true"
        assert (await api.put("/v1/config?cas=0", entry)).text == "false"
        got = (await api.get("/v1/config/service-defaults/web")).json()
        assert (got["Kind"], got["Name"], got["Protocol"]) == ("service-defaults", "web", "http")
        assert (await api.put(f"/v1/config?cas={got['ModifyIndex']}", {**entry, "Protocol": "tcp"})).text == "true"
        assert [row["Protocol"] for row in (await api.get("/v1/config/service-defaults")).json()] == ["tcp"]
        assert (await api.ask("DELETE", "/v1/config/service-defaults/web?cas=1")).text == "false"
        assert (await api.ask("DELETE", "/v1/config/service-defaults/web")).text == "{}"
        gone = await api.get("/v1/config/service-defaults/web")
        assert (gone.status, gone.text) == (404, 'Config entry not found for "service-defaults" / "web"')
        for method, path, sent, text in (
            ("PUT", "/v1/config", {"Name": "web"}, "Request decode failed: "),
            ("PUT", "/v1/config", [], "Request decode failed: a config entry is an object"),
            ("PUT", "/v1/config", {**entry, "Protcol": "x"}, "Request decode failed: "),
            ("PUT", "/v1/config", {"Kind": "zoo", "Name": "web"}, "Request decode failed: "),
            ("PUT", "/v1/config?cas=-1", entry, "Invalid cas value"),
            ("GET", "/v1/config/zoo", None, 'invalid config entry kind: "zoo"'),
            ("GET", "/v1/config/", None, "Must provide either a kind or both kind and name"),
            ("DELETE", "/v1/config/service-defaults", None, "Must provide both"),
        ):
            answer = await api.ask(method, path, **({} if sent is None else {"json": sent}))
            assert answer.status == 400, (path, answer.text)
            assert answer.text.startswith(text), (path, answer.text)

    with_registry(tmp_path, body)


def test_the_ca_shows_its_roots_and_never_a_secret(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        roots = (await api.get("/v1/connect/ca/roots")).json()
        assert roots["TrustDomain"].endswith(".consul")
        assert [root["ID"] for root in roots["Roots"] if root["Active"]] == [roots["ActiveRootID"]]
        pem = await api.get("/v1/connect/ca/roots?pem=true")
        assert pem.headers["Content-Type"] == "application/pem-certificate-chain"
        assert pem.text.count("BEGIN CERTIFICATE") == len(roots["Roots"])
        answer = await api.put("/v1/connect/ca/configuration", {"Provider": "consul", "Config": {"LeafCertTTL": "24h"}})
        assert (answer.status, answer.body) == (200, b"")
        shown = await api.get("/v1/connect/ca/configuration")
        assert shown.json()["Config"]["LeafCertTTL"] == "24h0m0s"
        everything = roots | shown.json()
        assert "PRIVATE KEY" not in str(everything)

    with_registry(tmp_path, body)


def test_the_servers_are_shown_as_raft_knows_them(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        answer = (await api.get("/v1/operator/raft/configuration")).json()
        server = answer["Servers"][0]
        assert set(server) == {"ID", "Node", "Address", "Leader", "ProtocolVersion", "Voter"}
        assert (server["Leader"], server["Voter"]) == (True, True)
        assert (await api.get("/v1/status/leader")).json() == server["Address"]
        assert (await api.get("/v1/catalog/datacenters")).json() == ["dc1"]

    with_registry(tmp_path, body)


PATHS = (
    "/v1/catalog/register", "/v1/catalog/deregister", "/v1/config", "/v1/connect/ca/configuration",
    "/v1/connect/intentions/exact?source=a&destination=b",
)  # fmt: skip


def test_a_thousand_broken_bodies_and_queries_are_each_answered_with_no_500(tmp_path: Path) -> None:
    rng = random.Random(20)
    seed = b'{"Node":"n","Address":"a","Kind":"service-defaults","Name":"w","Service":{"Service":"x","Tags":["a"],"Port":1},'
    seed += b'"Checks":[{"Name":"c"}],"Action":"allow","Config":{"LeafCertTTL":"1h"},"Permissions":[{"Action":"deny"}]}'
    pieces = [
        b"null",
        b"[]",
        b"{}",
        b"-1",
        b"1e400",
        b'"\xff"',
        b'"\\ud800"',
        b"true",
        b"9" * 30,
        b'"a"',
        b",",
        b":",
        b"\0",
    ]

    async def body(api: Api) -> None:
        for _ in range(1000):
            data = bytearray(seed)
            for _ in range(rng.randrange(1, 4)):
                start = rng.randrange(len(data))
                data[start : start + rng.randrange(12)] = rng.choice(pieces)
            answer = await api.put(rng.choice(PATHS), data=bytes(data))
            assert answer.status in (200, 400, 413), (answer.status, answer.text, bytes(data))
            junk = "".join(rng.choice("iwx=&;%20%zz[]\"'()nots.==web+") for _ in range(20))
            key = rng.choice(("filter", "index", "wait", "tag", "node-meta", "near", "stale", "x"))
            read = await api.get(f"/v1/health/service/web?{key}={junk}&wait=1ms")
            assert read.status in (200, 400), (read.status, read.text, junk)

    with_registry(tmp_path, body)


def test_a_secret_of_a_ca_provider_is_hidden_wherever_it_stands(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        config = {"PrivateKey": "s3cret", "Vault": {"token": "s3cret", "Address": "x"}, "LeafCertTTL": "1h"}
        reply = CAConfigurationReply(meta=QueryMeta(), configuration=CAConfiguration(config=config))
        api.server.answer(CA_CONFIGURATION, reply)
        shown = (await api.get("/v1/connect/ca/configuration")).json()["Config"]
        assert shown == {"PrivateKey": "hidden", "Vault": {"token": "hidden", "Address": "x"}, "LeafCertTTL": "1h"}

    with_api(tmp_path, body)
