"""`/v1/config` before a real server room: what typed clients of Consul send is stored and read back, a plan changes nothing,
and no body harms agent or servers.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chowk.agent.config.keys_entry import ENTRIES
from support.entry_bodies import entry_body
from support.http_api import Api, with_registry

HTTP = {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}
RESOLVER = {
    "Kind": "service-resolver",
    "Name": "web",
    "DefaultSubset": "v1",
    "Subsets": {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"OnlyPassing": True}},
    "ConnectTimeout": "15s",
    "LoadBalancer": {
        "Policy": "ring_hash",
        "RingHashConfig": {"MinimumRingSize": 1024},
        "HashPolicies": [{"Field": "cookie", "FieldValue": "sid", "CookieConfig": {"TTL": "30s", "Path": "/"}}],
    },
    "Failover": {"*": {"Datacenters": ["dc2", "dc3"]}},
}
SPLITTER = {
    "Kind": "service-splitter",
    "Name": "web",
    "Splits": [
        {"Weight": 99.5, "ServiceSubset": "v1"},
        {"Weight": 0.5, "ServiceSubset": "v2"},
        {"Weight": 0, "Service": "x"},
    ],
}
ROUTER = {
    "Kind": "service-router",
    "Name": "web",
    "Routes": [
        {
            "Match": {"HTTP": {"PathPrefix": "/api", "Header": [{"Name": "x", "Present": True, "Invert": True}]}},
            "Destination": {
                "ServiceSubset": "v2",
                "PrefixRewrite": "/",
                "RequestTimeout": "5s",
                "NumRetries": 3,
                "RetryOnConnectFailure": True,
                "RetryOn": ["5xx", "reset"],
                "RetryOnStatusCodes": [500, 503],
                "RequestHeaders": {"Add": {"x-a": "1"}, "Set": {"x-b": "2"}, "Remove": ["x-c"]},
            },
        }
    ],
}
MESH = {"Kind": "mesh", "Name": "mesh", "TLS": {"Incoming": {"TLSMinVersion": "TLSv1_2"}}, "AllowedRegions": ["eu"]}


def without_indexes(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("CreateIndex", "ModifyIndex")}


def test_what_a_typed_client_sends_is_read_back_field_by_field(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/config", {**HTTP, "Name": "x"})
        for entry in (HTTP, RESOLVER, SPLITTER, ROUTER, MESH):
            # What Go's structs hold besides: empty values, and the indexes of an entry that was read before.
            sent = {**entry, "CreateIndex": 0, "ModifyIndex": 12, "Namespace": "", "Partition": "", "Meta": None}
            answer = await api.put("/v1/config", sent)
            assert (answer.status, answer.text) == (200, "true")
            got = (await api.get(f"/v1/config/{entry['Kind']}/{entry['Name']}")).json()
            always = {"MeshGateway": {}, "Expose": {}} if entry is HTTP else {}
            assert without_indexes(got) == {**entry, **always}
            assert 0 < got["CreateIndex"] <= got["ModifyIndex"]
            assert (await api.put(f"/v1/config?cas={got['ModifyIndex']}", got)).text == "true"
            assert (await api.put("/v1/config?cas=0", got)).text == "false"
            assert (await api.get(f"/v1/config/{entry['Kind']}")).json()[0] == got
        chain = (await api.get("/v1/discovery-chain/web")).json()["Chain"]
        assert chain["StartNode"] == "router:web.default.default"

    with_registry(tmp_path, body)


def test_durations_of_a_body_may_be_nanoseconds_and_unknown_keys_are_refused(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        assert (await api.put("/v1/config", {**RESOLVER, "ConnectTimeout": 15_000_000_000})).text == "true"
        assert (await api.get("/v1/config/service-resolver/web")).json()["ConnectTimeout"] == "15s"
        for wrong, words in (
            ({**RESOLVER, "ConnectTimout": "1s"}, 'did you mean "connect_timeout"?'),
            ({**RESOLVER, "DefaultSubset": "v9"}, "is not a valid subset"),
            ({**SPLITTER, "Name": "db"}, "does not permit advanced routing or splitting behavior"),
            ({"Kind": "mesh", "Name": "x"}, 'expected one of "mesh"'),
        ):
            answer = await api.put("/v1/config", wrong)
            assert answer.status == 400
            assert words in answer.text

    with_registry(tmp_path, body)


def faulty(percent: float, hours: float) -> dict[str, Any]:
    expires = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
    fault = {"Delay": {"Percent": percent, "Duration": "5s"}, "Expires": expires}
    return {"Kind": "service-router", "Name": "web", "Routes": [{"Destination": {"Fault": fault}}]}


def test_a_fault_over_its_guard_needs_force_and_no_force_makes_it_last(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/config", HTTP)
        assert "over max_percent" in (await api.put("/v1/config", faulty(100, 1))).text
        assert (await api.put("/v1/config?force", faulty(100, 25))).status == 400
        assert (await api.put("/v1/config?force=0", faulty(100, 1))).status == 400
        assert (await api.get("/v1/config/service-router")).json() == []
        assert (await api.put("/v1/config?force", faulty(100, 1))).text == "true"
        shown = (await api.get("/v1/config/service-router/web")).json()["Routes"][0]["Destination"]["Fault"]
        assert shown["MaxPercent"] == 100
        assert (await api.put("/v1/config", faulty(0.1, 1))).text == "true"

    with_registry(tmp_path, body)


def test_a_plan_of_several_entries_judges_them_together(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        plan = (await api.put("/v1/config/plan", [SPLITTER, RESOLVER, HTTP, {**HTTP, "Name": "x"}])).json()
        assert plan["Refusal"] == ""
        assert [(change["Kind"], change["Old"]) for change in plan["Changes"]] == [
            ("service-splitter", None), ("service-resolver", None), ("service-defaults", None), ("service-defaults", None),
        ]  # fmt: skip
        assert [each["Service"] for each in plan["Affected"]] == ["web", "x"]
        alone = (await api.put("/v1/config/plan", SPLITTER)).json()
        assert "does not permit advanced routing" in alone["Refusal"]
        assert (await api.get("/v1/config/service-splitter")).json() == []
        for wrong in ([], [HTTP, HTTP], ["x"], [{"Kind": "zoo"}]):
            assert (await api.put("/v1/config/plan", wrong)).status == 400

    with_registry(tmp_path, body)


@pytest.mark.parametrize("seed", range(3))
def test_no_body_harms_the_agent_or_the_servers(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)

    def anything(depth: int = 0) -> Any:
        if depth > 3 or rng.random() < 0.5:
            return rng.choice([None, True, 0, -1, 1e308, 2**63, "", "web", "\x00", "*", "service-router"])
        if rng.random() < 0.5:
            return [anything(depth + 1) for _ in range(rng.randrange(4))]
        return {rng.choice(["Kind", "Name", "Routes", "Splits", "x"]): anything(depth + 1) for _ in range(3)}

    async def body(api: Api) -> None:
        answers: dict[int, int] = {}
        soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        for number in range(150):
            kind = rng.choice(sorted(ENTRIES))
            value = entry_body(kind, rng, soon) if number % 3 else anything()
            path = rng.choice(["/v1/config", "/v1/config?force", "/v1/config/plan"])
            answer = await api.ask("PUT", path, data=json.dumps(value).encode())
            answers[answer.status] = answers.get(answer.status, 0) + 1
            assert answer.status in (200, 400), (path, value, answer.text)
        assert answers[200] > 3
        assert (await api.get("/v1/status/leader")).status == 200
        assert (await api.get("/v1/discovery-chain/web")).status == 200

    with_registry(tmp_path, body)
