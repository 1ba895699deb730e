"""`/v1/query…` over a real server room: definitions field by field, what they pick, templates, what cannot be written."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.http_api import Answer, Api, with_registry


async def make(api: Api, **definition: Any) -> str:
    answer = await api.ask("POST", "/v1/query", json=definition)
    assert answer.status == 200, answer.text
    assert list(answer.json()) == ["ID"]
    return str(answer.json()["ID"])


async def register(api: Api, node: str, status: str = "passing", **service: Any) -> None:
    service = {"ID": "web", "Service": "web", "Port": 80, **service}
    check = {"CheckID": f"check:{service['ID']}", "ServiceID": service["ID"], "Status": status}
    body = {"Node": node, "Address": f"127.0.1.{node[1:]}", "NodeMeta": {"rack": node}, "Service": service}
    assert (await api.put("/v1/catalog/register", {**body, "Check": check})).status == 200


async def nodes(api: Api, query: str) -> list[str]:
    answer = await api.get(f"/v1/query/{query}")
    assert answer.status == 200, answer.text
    return [row["Node"]["Node"] for row in answer.json()["Nodes"]]


def test_a_definition_is_shown_with_every_field_as_it_was_written(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        assert (await api.get("/v1/query")).json() == []
        id = await make(api, Name="q", Service={"Service": "web"})
        answer = await api.get(f"/v1/query/{id}")
        [shown] = answer.json()
        assert int(answer.headers["X-Consul-Index"]) == shown["CreateIndex"] > 0
        assert shown == {
            "ID": id,
            "Name": "q",
            "Session": "",
            "Token": "",
            "Template": {"Type": "", "Regexp": "", "RemoveEmptyTags": False},
            "Service": {
                "Service": "web",
                "Failover": {"NearestN": 0, "Datacenters": None, "Targets": None},
                "OnlyPassing": False,
                "IgnoreCheckIDs": None,
                "Near": "",
                "Tags": None,
                "NodeMeta": None,
                "ServiceMeta": None,
                "Connect": False,
            },
            "DNS": {"TTL": ""},
            "CreateIndex": shown["CreateIndex"],
            "ModifyIndex": shown["CreateIndex"],
        }
        full = {
            "Name": "Q2",
            "Token": "secret",
            "Template": {"Type": "name_prefix_match", "Regexp": "^q2-(.*)$", "RemoveEmptyTags": True},
            "Service": {
                "Service": "${match(1)}",
                "Failover": {"NearestN": 3, "Datacenters": ["dc2"], "Targets": None},
                "OnlyPassing": True,
                "IgnoreCheckIDs": ["c"],
                "Near": "_agent",
                "Tags": ["a", "!b"],
                "NodeMeta": {"k": "v"},
                "ServiceMeta": {"k": "v"},
                "Connect": True,
            },
            "DNS": {"TTL": "10s"},
        }
        answer = await api.put(f"/v1/query/{id}", full)
        assert (answer.status, answer.body) == (200, b"")
        [shown] = (await api.get("/v1/query")).json()
        assert shown.items() >= {**full, "ID": id}.items()
        assert shown["ModifyIndex"] > shown["CreateIndex"]
        answer = await api.ask("DELETE", f"/v1/query/{id}")
        assert (answer.status, answer.body) == (200, b"")
        gone = await api.get(f"/v1/query/{id}")
        assert (gone.status, gone.text) == (404, "Query not found")

    with_registry(tmp_path, body)


def test_what_is_not_there_is_told_in_consuls_words(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        missing = "00000000-0000-0000-0000-000000000000"
        for path in (
            missing,
            "x",
            f"{missing}/execute",
            "x/execute",
            "x/explain",
            "a/b/execute",
            "x" * 3000 + "/execute",
        ):
            answer = await api.get(f"/v1/query/{path}")
            assert (answer.status, answer.text) == (404, "Query not found"), path
        text = f"Cannot modify non-existent prepared query: '{missing}'"
        for method, sent in (("PUT", {"Name": "q", "Service": {"Service": "web"}}), ("DELETE", None)):
            answer = await api.ask(method, f"/v1/query/{missing}", json=sent)
            assert (answer.status, answer.text) == (500, text)
        assert (await api.put("/v1/query/x/execute")).status == 405

    with_registry(tmp_path, body)


def test_a_query_picks_the_instances_that_are_well_and_have_what_it_asks_for(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await register(api, "n1", Tags=["A", "b"], Meta={"v": "1"})
        await register(api, "n2", "warning", Tags=["a"])
        await register(api, "n3", "critical", Tags=["a"])
        cases: list[tuple[dict[str, Any], list[str]]] = [
            ({}, ["n1", "n2"]),
            ({"OnlyPassing": True}, ["n1"]),
            ({"IgnoreCheckIDs": ["check:web"]}, ["n1", "n2", "n3"]),
            ({"IgnoreCheckIDs": ["check:web"], "OnlyPassing": True}, ["n1", "n2", "n3"]),
            ({"Tags": ["a"]}, ["n1", "n2"]),
            ({"Tags": ["a", "!B"]}, ["n2"]),
            ({"Tags": ["a", "none"]}, []),
            ({"NodeMeta": {"rack": "n2"}}, ["n2"]),
            ({"ServiceMeta": {"v": "1"}}, ["n1"]),
            ({"ServiceMeta": {"v": ""}}, []),
            ({"Connect": True}, []),
        ]
        for at, (service, expected) in enumerate(cases):
            await make(api, Name=f"q{at}", Service={"Service": "web", **service})
            assert sorted(await nodes(api, f"Q{at}/execute")) == expected, service
        assert await nodes(api, "q0/execute?connect=true") == []
        assert len(await nodes(api, "q0/execute?limit=1")) == 1

    with_registry(tmp_path, body)


def test_the_answer_of_a_query_has_consuls_shape(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await register(api, "n1")
        definition = {"Service": "web", "Failover": {"NearestN": 2, "Datacenters": ["dc2", "dc1"]}}
        id = await make(api, Name="q", Service=definition, DNS={"TTL": "7s"})
        for asked in (id, id.upper(), "q"):
            answer = await api.get(f"/v1/query/{asked}/execute")
            shown = answer.json()
            assert list(shown) == ["Service", "Nodes", "DNS", "Datacenter", "Failovers"]
            assert (shown["Service"], shown["DNS"], shown["Datacenter"], shown["Failovers"]) == (
                "web",
                {"TTL": "7s"},
                "dc1",
                0,
            )
            assert list(shown["Nodes"][0]) == ["Node", "Service", "Checks"]
            assert answer.headers["X-Consul-KnownLeader"] == "true"
        for mode in ("stale", "consistent"):
            answer = await api.get(f"/v1/query/q/execute?{mode}")
            assert answer.headers["X-Consul-Effective-Consistency"] == mode
        await register(api, "n1", "critical")
        answer = await api.get("/v1/query/q/execute")
        assert (answer.json()["Nodes"], answer.json()["Failovers"]) == ([], 0)

    with_registry(tmp_path, body)


def test_the_order_is_another_each_time_but_for_the_node_that_is_near(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for number in range(1, 6):
            await register(api, f"n{number}")
        await make(api, Name="any", Service={"Service": "web"})
        await make(api, Name="mine", Service={"Service": "web", "Near": "_agent"})
        await make(api, Name="theirs", Service={"Service": "web", "Near": "_ip"})
        at_once = await asyncio.gather(*(nodes(api, "any/execute") for _ in range(40)))
        assert len({found[0] for found in at_once}) == 5, "callers that come together are spread, too"
        seen = Counter([(await nodes(api, "any/execute"))[0] for _ in range(100)])
        assert set(seen) == {"n1", "n2", "n3", "n4", "n5"}
        for query, first in (
            ("mine/execute", "n1"),
            ("mine/execute?near=N3", "n3"),
            ("any/execute?near=_agent", "n1"),
            ("mine/execute?near=none", None),
        ):
            found = {(await nodes(api, query))[0] for _ in range(20)}
            assert found == {first} if first else len(found) > 1, query
        for forwarded, first in (("127.0.1.4, 10.0.0.1", "n4"), ("nonsense", None), ("::ffff", None)):
            answers = [
                await api.get("/v1/query/theirs/execute", headers={"X-Forwarded-For": forwarded}) for _ in range(20)
            ]
            found = {answer.json()["Nodes"][0]["Node"]["Node"] for answer in answers}
            assert found == {first} if first else len(found) > 1, forwarded

    with_registry(tmp_path, body)


def test_templates_answer_the_longest_prefix_and_are_filled_in(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        template = {"Type": "name_prefix_match"}
        await make(api, Name="", Template=template, Service={"Service": "${name.full}"})
        geo = await make(
            api,
            Name="geo-",
            Template={**template, "Regexp": r"^geo-(.*?)-([^\-]+)$", "RemoveEmptyTags": True},
            Service={"Service": "x-${match(1)}$${y}", "Tags": ["${match(2)}", "${match(9)}", "p:${ name.prefix }"]},
        )
        await make(api, Name="geo-db", Service={"Service": "exact"})
        await make(api, Name="geo-db-", Template=template, Service={"Service": "${name.suffix}", "Near": "_agent"})

        async def explained(name: str) -> Any:
            answer = await api.get(f"/v1/query/{name}/explain")
            assert list(answer.json()) == ["Query"]
            return answer.json()["Query"]["Service"]

        shown = await explained("geo-Cache-slave")
        assert (shown["Service"], shown["Tags"]) == ("x-Cache${y}", ["slave", "p:geo-"])
        assert (await explained("geo-nothing"))["Service"] == "x-${y}"
        assert (await explained("GEO-DB"))["Service"] == "exact"
        assert (await explained("Geo-DB-Main"))["Service"] == "Main"
        assert (await explained("else"))["Service"] == "else"
        await register(api, "n1")
        assert await nodes(api, "web/execute") == ["n1"]
        by_id = await api.get(f"/v1/query/{geo}/execute")
        told = "prepared query templates can only be resolved up by name, not by ID"
        assert (by_id.status, by_id.text) == (400, told)

    with_registry(tmp_path, body)


def test_names_stand_for_one_query(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        service = {"Service": "web"}
        id = await make(api, Name="q", Service=service)
        await make(api, Template={"Type": "name_prefix_match"}, Service=service)
        for definition, told in (
            ({"Name": "Q"}, "name 'Q' aliases an existing query name"),
            ({"Name": id.upper()}, f"name '{id.upper()}' aliases an existing query ID"),
            ({"Template": {"Type": "name_prefix_match"}}, "a query template with an empty name already exists"),
            ({"Name": "s", "Session": "none"}, 'invalid session "none"'),
        ):
            answer = await api.ask("POST", "/v1/query", json={**definition, "Service": service})
            assert (answer.status, answer.text) == (400, told)
        assert (await api.put(f"/v1/query/{id}", {"Name": "Q", "Service": service})).status == 200

    with_registry(tmp_path, body)


def test_a_query_goes_with_its_session(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await register(api, "n1")
        session = (await api.put("/v1/session/create", {"Node": "n1", "NodeChecks": []})).json()["ID"]
        id = await make(api, Session=session, Service={"Service": "web"})
        assert await nodes(api, f"{id}/execute") == ["n1"]
        await api.put(f"/v1/session/destroy/{session}")
        assert (await api.get(f"/v1/query/{id}/execute")).status == 404

    with_registry(tmp_path, body)


BOMB = "((a{100}){100}){100}"


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        ({}, "Must be bound to a session"),
        ({"Name": "q"}, "Must provide a Service name to query"),
        ({"ID": "x", "Name": "q", "Service": {"Service": "web"}}, "ID must be empty when creating"),
        ({"Name": "q" * 600, "Service": {"Service": "web"}}, "Name is too long"),
        ({"Name": "q\n", "Service": {"Service": "web"}}, "cannot be printed"),
        ({"Name": "q", "Service": {"Service": "web", "Failover": {"NearestN": -1}}}, "Bad NearestN '-1', must be >= 0"),
        ({"Name": "q", "Service": {"Service": "web", "Failover": {"NearestN": 2**70}}}, "Request decode failed"),
        ({"Name": "q", "Service": {"Service": "web", "Failover": {"NearestN": 2**40}}}, "Bad NearestN"),
        (
            {"Name": "q", "Service": {"Service": "web", "Failover": {"NearestN": 1, "Targets": [{"Datacenter": "d"}]}}},
            "Targets cannot be populated with NearestN or Datacenters",
        ),
        ({"Name": "q", "Service": {"Service": "web", "Failover": {"Targets": [{"Peer": "p"}]}}}, "peering"),
        ({"Name": "q", "Service": {"Service": "web", "SamenessGroup": "g"}}, "Sameness groups are not supported"),
        ({"Name": "q", "Service": {"Service": "web", "Namespace": "g"}}, "Namespaces are not supported"),
        ({"Name": "q", "Service": {"Service": "web", "Tags": "a"}}, "Request decode failed"),
        ({"Name": "q", "Service": {"Service": "web", "Tags": ["a"] * 257}}, "Service.Tags has more than 256"),
        ({"Name": "q", "Service": {"Service": "web", "NodeMeta": {"": "x"}}}, "Invalid node metadata filter"),
        ({"Name": "q", "Service": {"Service": "web"}, "DNS": {"TTL": "x"}}, "Bad DNS TTL 'x'"),
        ({"Name": "q", "Service": {"Service": "web"}, "DNS": {"TTL": "-1s"}}, "must be >=0"),
        ({"Name": "q", "Service": {"Service": "web"}, "DNS": {"TTL": 5}}, "Request decode failed"),
        ({"Name": "q", "Service": {"Service": "web"}, "Near": "x"}, 'unknown field "Near"'),
        ({"Template": {"Type": "x"}, "Service": {"Service": "web"}}, "Bad Template.Type 'x'"),
        ({"Template": {"Type": "name_prefix_match", "Regexp": "("}, "Service": {"Service": "web"}}, "Bad Regexp: "),
        ({"Template": {"Type": "name_prefix_match", "Regexp": "a" * 600}, "Service": {"Service": "w"}}, "Bad Regexp: "),
        ({"Template": {"Type": "name_prefix_match", "Regexp": BOMB}, "Service": {"Service": "web"}}, "Bad Regexp: "),
        ({"Template": {"Type": "name_prefix_match", "Regexp": "(?=a)"}, "Service": {"Service": "web"}}, "Bad Regexp: "),
        (
            {"Template": {"Type": "name_prefix_match"}, "Service": {"Service": "${name.ful}"}},
            "Bad format '${name.ful}' in Service.Service: unknown variable accessed: name.ful",
        ),
        (
            {"Template": {"Type": "name_prefix_match"}, "Service": {"Service": "w", "Tags": ["", "${match(x)}"]}},
            "Bad format '${match(x)}' in Service.Tags[1]: match takes one whole number",
        ),
        ({"Template": {"Type": "name_prefix_match"}, "Service": {"Service": "${"}}, "not closed"),
        ({"Template": {"Type": "name_prefix_match"}, "Service": {"Service": "${${name.full}}"}}, "not closed"),
        ({"Template": {"Type": "name_prefix_match"}, "Service": {"Service": "${}"}}, "an interpolation of nothing"),
    ],
)
def test_what_cannot_be_a_query_is_refused(tmp_path: Path, definition: Any, told: str) -> None:
    async def body(api: Api) -> None:
        answer: Answer = await api.ask("POST", "/v1/query", json=definition)
        assert answer.status == 400, answer.text
        assert told in answer.text
        assert (await api.get("/v1/query")).json() == []

    with_registry(tmp_path, body)


def test_parameters_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await make(api, Name="q", Service={"Service": "web"})
        for query in (
            "limit=-1",
            "limit=x",
            "limit=99999999999",
            "connect=perhaps",
            "dc=dc9",
            "ns=a",
        ):
            answer = await api.get(f"/v1/query/q/execute?{query}")
            assert answer.status in (400, 500), query
            assert answer.text

    with_registry(tmp_path, body)


def test_a_cached_execution_comes_from_the_views_and_goes_on_without_servers(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await register(api, "n1")
        await register(api, "n2", "critical")
        template = {"Type": "name_prefix_match"}
        await make(api, Name="find-", Template=template, Service={"Service": "${name.suffix}"}, DNS={"TTL": "3s"})
        await make(api, Name="near", Service={"Service": "web", "Near": "n1"})
        fresh = (await api.get("/v1/query/find-web/execute")).json()
        first = await api.get("/v1/query/find-web/execute?cached")
        assert (first.json(), first.headers["X-Cache"]) == (fresh, "MISS")
        assert (await api.get("/v1/query/find-web/execute?cached")).headers["X-Cache"] == "HIT"
        assert (await api.get("/v1/query/find-nobody/execute?cached")).json()["Nodes"] == []
        assert (await api.get("/v1/query/none/execute?cached")).status == 404
        near = await api.get("/v1/query/near/execute?cached")
        assert (near.status, "X-Cache" in near.headers) == (200, False)
        await api.server.server.stop()
        kept = await api.get("/v1/query/find-web/execute?cached&limit=1")
        assert kept.json() == fresh

    with_registry(tmp_path, body)
