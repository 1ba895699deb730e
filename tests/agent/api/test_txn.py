"""`PUT /v1/txn` over a real server room: shapes field by field, what fails and how, what cannot be sent."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from chowk.agent.config.model import AgentConfig, LimitsConfig
from support.http_api import Answer, Api, with_registry


def text(value: str) -> str:
    return b64encode(value.encode()).decode()


def kv(verb: str, key: str = "k", **fields: Any) -> dict[str, Any]:
    return {"KV": {"Verb": verb, "Key": key, **fields}}


async def txn(api: Api, *operations: Any) -> Answer:
    return await api.put("/v1/txn", list(operations))


def test_results_have_consuls_fields_and_come_in_order(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        node = {"Node": "n9", "Address": "127.0.0.9", "Meta": {"rack": "1"}}
        service = {"ID": "web1", "Service": "web", "Port": 80, "Tags": ["v1"]}
        check = {"Node": "n9", "CheckID": "c1", "Name": "up", "Status": "passing", "ServiceID": "web1"}
        answer = await txn(
            api,
            kv("set", "a", Value=text("1"), Flags=7),
            {"Node": {"Verb": "set", "Node": node}},
            {"Service": {"Verb": "set", "Node": "n9", "Service": service}},
            {"Check": {"Verb": "set", "Check": check}},
            kv("delete", "none"),
            kv("check-not-exists", "none"),
            kv("get", "a"),
        )
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        outcome = answer.json()
        assert list(outcome) == ["Results", "Errors"]
        assert outcome["Errors"] is None
        written, node, service, check, read = outcome["Results"]
        index = written["KV"]["CreateIndex"]
        stamps = {"CreateIndex": index, "ModifyIndex": index}
        assert written == {"KV": {"LockIndex": 0, "Key": "a", "Flags": 7, "Value": None, **stamps}}
        assert read == {"KV": {**written["KV"], "Value": text("1")}}
        assert list(node) == ["Node"]
        assert node["Node"].items() >= {"Node": "n9", "Address": "127.0.0.9", "Datacenter": "dc1", **stamps}.items()
        assert service["Service"].items() >= {"ID": "web1", "Service": "web", "Tags": ["v1"], **stamps}.items()
        assert (
            check["Check"].items() >= {"CheckID": "c1", "ServiceName": "web", "ServiceTags": ["v1"], **stamps}.items()
        )
        [instance] = (await api.get("/v1/health/service/web?passing")).json()
        assert instance["Node"]["Node"] == "n9"

    with_registry(tmp_path, body)


def test_what_fails_is_told_with_409_and_nothing_is_done(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        answer = await txn(api, kv("set", "a"), kv("cas", "a", Index=9), kv("set", ""), kv("get", "none"))
        assert answer.status == 409
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json() == {"Results": None, "Errors": [{"OpIndex": 2, "What": "Must provide key"}]}
        answer = await txn(api, kv("set", "a"), kv("cas", "a", Index=9), kv("get", "none"))
        assert answer.status == 409
        assert answer.json()["Errors"] == [
            {"OpIndex": 1, "What": 'failed to set key "a", index is stale'},
            {"OpIndex": 2, "What": 'key "none" doesn\'t exist'},
        ]
        assert (await api.get("/v1/kv/a")).status == 404

    with_registry(tmp_path, body)


def test_one_that_only_reads_is_a_read(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await txn(api, kv("set", "a", Value=text("1")), kv("set", "b"))
        before = api.server.machine.store.index
        for query in ("", "?stale", "?consistent"):
            answer = await api.put(f"/v1/txn{query}", [kv("get-tree", "a"), kv("check-not-exists", "c")])
            assert answer.status == 200
            assert [row["KV"]["Value"] for row in answer.json()["Results"]] == [text("1")]
            assert int(answer.headers["X-Consul-Index"]) == answer.json()["Results"][0]["KV"]["ModifyIndex"]
            assert answer.headers["X-Consul-KnownLeader"] == "true"
        failed = await txn(api, kv("get", "c"))
        assert (failed.status, failed.headers["X-Consul-KnownLeader"]) == (409, "true")
        missing = {"Node": {"Verb": "get", "Node": {"Node": "n9", "Meta": {"a": "b"}}}}
        assert (await txn(api, missing)).json()["Errors"] == [{"OpIndex": 0, "What": 'node "n9" doesn\'t exist'}]
        assert (await api.put("/v1/txn", [])).json() == {"Results": [], "Errors": None}
        assert api.server.machine.store.index == before, "nothing was written to the log"

    with_registry(tmp_path, body)


def test_names_are_found_without_case_as_clients_write_them(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        answer = await txn(
            api, {"kv": {"verb": "set", "key": "a", "value": None}}, {"KV": kv("get", "a")["KV"], "Node": None}
        )
        assert answer.status == 200
        assert len(answer.json()["Results"]) == 2

    with_registry(tmp_path, body)


DEEP = "[" * 20_000 + "]" * 20_000


@pytest.mark.parametrize(
    ("sent", "status", "told"),
    [
        (b"", 400, "Failed to parse body: EOF"),
        (b"{", 400, "Failed to parse body: "),
        (b"{}", 400, "Failed to parse body: "),
        (b"7", 400, "Failed to parse body: "),
        (b'["x"]', 400, "Failed to parse body: "),
        (b"[null]", 400, "Failed to parse body: "),
        (b'[{"KV": [] }]', 400, "Failed to parse body: "),
        (b"[{}]", 400, "operation 0 must have exactly one of KV, Node, Service and Check"),
        (b'[{"Session": {}}]', 400, 'unknown field "Session"'),
        (b'[{"KV": {"Verb":"set","Key":"a"}, "Node": {"Verb":"get"}}]', 400, "operation 0 must have exactly one"),
        (b'[{"KV": {"Verb":"set","Key":"a","Key":"b"}}]', 400, 'the key "Key" is given twice'),
        (b'[{"KV": {"Verb":"set","Key":"a","key":"b"}}]', 400, "is given twice"),
        (b'[{"KV": {"Verb":"set","Key":"\xff"}}]', 400, "Failed to parse body: "),
        (b'[{"KV": {"Verb":"set","Key":"\\ud800"}}]', 400, "Failed to parse body: "),
        (b'[{"KV": {"Verb":"set","Key":5}}]', 400, "Failed to parse body: "),
        (b'[{"KV": {"Verb":"set","Key":"a","Value":"?"}}]', 400, "is not base64"),
        (b'[{"KV": {"Verb":"set","Key":"a","Value":"\xc3\xa9"}}]', 400, "is not base64"),
        (b'[{"KV": {"Verb":"set","Key":"a","Value":5}}]', 400, "Failed to parse body: "),
        (b'[{"KV": {"Verb":"set","Key":"a","Flags":-1}}]', 400, "Flags of operation 0"),
        (b'[{"KV": {"Verb":"set","Key":"a","Flags":18446744073709551616}}]', 400, "Failed to parse body: "),
        (b'[{"KV": {"Verb":"set","Key":"a","Flags":1.5}}]', 400, "Failed to parse body: "),
        (b'[{"KV": {"Verb":"cas","Key":"a","Index":-1}}]', 400, "Index of operation 0"),
        (b'[{"KV": {"Verb":"cas","Key":"a","Index":1e400}}]', 400, "Failed to parse body: "),
        (b'[{"KV": {"Verb":"cas","Key":"a","Index":NaN}}]', 400, "Failed to parse body: "),
        (b'[{"KV": {"Verb":"set","Key":"a","Namespace":"x"}}]', 400, "Namespaces are not supported"),
        (b'[{"Node": {"Verb":"set","Node":{"Node":"a","ModifyIndex":-5}}}]', 400, "ModifyIndex of operation 0"),
        (b'[{"Node": {"Verb":"set","Node":{"Node":"a","Datacenter":"dc9"}}}]', 500, "No path to datacenter"),
        (b'[{"Service": {"Verb":"set","Node":"a","Service":{"Port":"80"}}}]', 400, "Failed to parse body: "),
        (b'[{"KV": {"Verb":"set","Key":"a"}}]' * 2, 400, "Failed to parse body: "),
        (DEEP.encode(), 400, "nested deeper than"),
        (json.dumps([kv("set")] * 65).encode(), 413, "Transaction contains too many operations (65 > 64)"),
        (json.dumps([{}] * 65).encode(), 413, "Transaction contains too many operations (65 > 64)"),
    ],
)
def test_what_is_no_transaction_is_refused_and_changes_nothing(
    tmp_path: Path, sent: bytes, status: int, told: str
) -> None:
    async def body(api: Api) -> None:
        before = api.server.machine.store.index
        answer = await api.put("/v1/txn", data=sent)
        assert answer.status == status, answer.text
        assert told in answer.text
        assert api.server.machine.store.index == before

    with_registry(tmp_path, body)


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        (kv("SET"), 'unknown KV verb "SET"'),
        (kv(""), 'unknown KV verb ""'),
        (kv("set", "k" * 5000), "Key is too long (limit: 4096 bytes)"),
        (kv("get", ""), "Must provide key"),
        (kv("lock"), "missing session"),
        (kv("lock", Session="x" * 1000), "Session is too long (limit: 512 characters)"),
        ({"Node": {"Verb": "set", "Node": {}}}, "Must provide node"),
        ({"Node": {"Verb": "get"}}, "Must provide node"),
        ({"Node": {"Verb": "lock", "Node": {"Node": "a"}}}, 'unknown Node verb "lock"'),
        ({"Node": {"Verb": "set", "Node": {"Node": "a", "ID": "x"}}}, "Bad node ID: 'x' is not a UUID"),
        ({"Node": {"Verb": "set", "Node": {"Node": "a/b"}}}, 'Node name "a/b" cannot contain "/"'),
        ({"Node": {"Verb": "set", "Node": {"Node": "a", "Meta": {"": "x"}}}}, "Key cannot be blank"),
        ({"Service": {"Verb": "set", "Node": "none", "Service": {"Service": "web"}}}, "Missing node registration"),
        ({"Service": {"Verb": "set", "Node": "", "Service": {"Service": "web"}}}, "Node name cannot be blank"),
        ({"Service": {"Verb": "set", "Node": "n"}}, "Must provide service name"),
        ({"Service": {"Verb": "delete", "Node": "n"}}, "Service ID cannot be blank"),
        ({"Service": {"Verb": "set", "Node": "n", "Service": {"Service": "web", "Port": 2**40}}}, "service port"),
        ({"Check": {"Verb": "set", "Check": {"Node": "n"}}}, "Must provide check ID or name"),
        ({"Check": {"Verb": "set", "Check": {"Node": "n", "CheckID": "c", "Status": "up"}}}, "Invalid check status"),
        ({"Check": {"Verb": "delete", "Check": {"Node": "n"}}}, "Check ID cannot be blank"),
        ({"Check": {"Verb": "set", "Check": {"Node": "none", "CheckID": "c"}}}, "Missing node registration"),
    ],
)
def test_an_operation_that_cannot_be_is_told_by_its_position(tmp_path: Path, operation: Any, what: str) -> None:
    async def body(api: Api) -> None:
        answer = await txn(api, kv("set", "first"), operation)
        assert answer.status == 409, answer.text
        [error] = answer.json()["Errors"]
        assert error["OpIndex"] == 1
        assert what in error["What"]
        assert (await api.get("/v1/kv/first")).status == 404

    with_registry(tmp_path, body)


def test_limits_are_those_of_the_configuration(tmp_path: Path) -> None:
    config = AgentConfig(node_name="n1", limits=LimitsConfig(kv_max_value_size=10, txn_max_req_len=200))

    async def body(api: Api) -> None:
        large = await txn(api, kv("set", "a", Value=text("x" * 11)))
        assert (large.status, large.text) == (413, 'Value for key "a" is too large (11 > 10 bytes)')
        whole = await txn(api, *(kv("set", f"key-{number}") for number in range(9)))
        assert whole.status == 413
        assert whole.text.startswith("Request body(")
        assert "too large, max size: 200 bytes. See " in whole.text
        assert (await txn(api, kv("set", "a", Value=text("x" * 10)))).status == 200

    with_registry(tmp_path, body, config)


def test_the_largest_transaction_passes_through_the_log(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        value = "x" * (5 * 1024)
        answer = await txn(api, *(kv("set", f"k{number}", Value=text(value)) for number in range(64)))
        assert answer.status == 200
        answer = await txn(api, kv("set", "k", Value=text("x" * 390_000)))
        assert answer.status == 200

    with_registry(tmp_path, body)
