"""Every route with every parameter empty, doubled, of the wrong type, huge, negative, not UTF-8; path tricks; odd names.

The tables come from the description of the API, so a new route is tried as soon as it is there.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from chowk.agent.api.openapi import plain_path
from chowk.agent.api.openapi_operations import OPERATIONS
from chowk.agent.api.openapi_parameters import EVERYWHERE, FLAG, NUMBER, PARAMETERS, TEXT
from chowk.agent.api.query import ONCE, REPEATABLE, UNSUPPORTED
from chowk.agent.api.routes import ROUTES
from support.agent_api import Syncs
from support.http_api import Answer, Api, with_registry

ENDLESS = {"GET /v1/agent/monitor", "GET /v1/agent/tap"}
ANSWER_S = 5.0
IN_WORDS = (
    "No path to datacenter",
    "Missing node registration",
    "Cannot modify non-existent",
    "invalid session",
    "No ",
)
"""What Consul answers with 500 and is no fault."""
BAD_VALUES = (
    "",
    "-1",
    "1e9",
    "NaN",
    "99999999999999999999",
    "%ff%fe",
    "%00",
    "%F0%9F%92%A9",
    "a%0d%0aX-Evil:%201",
    "x" * 9000,
)
MANY = {f"{method} {plain_path(route.path)}": route.repeatable for route in ROUTES for method in route.methods}
OPERATION_NAMES = sorted(set(OPERATIONS) - ENDLESS)


def path_of(operation: str) -> tuple[str, str]:
    method, _, path = operation.partition(" ")
    return method, path.replace("{query}", "q").replace("{", "some-").replace("}", "")


async def ask(api: Api, method: str, target: str, data: bytes | None = None) -> Answer:
    """One request that is answered soon, with no fault of ours."""
    async with asyncio.timeout(ANSWER_S):
        answer = await api.ask(method, target, data=data)
    words = answer.body.decode("utf-8", "replace")
    assert answer.status < 500 or answer.status == 501 or words.startswith(IN_WORDS), (method, target, words)
    assert "X-Evil" not in answer.headers, target
    if answer.status >= 400 and not answer.headers["Content-Type"].startswith("application/json"):
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8", (method, target)
    return answer


def said(answer: Answer) -> tuple[str | None, str]:
    """What two answers to the same question have in common: how it was read, and why it was refused."""
    return answer.headers.get("X-Consul-Effective-Consistency"), answer.text if answer.status >= 400 else ""


def with_agent(path: Path, body: Any) -> None:
    async def run(api: Api) -> None:
        api.context.syncer = Syncs()
        await body(api)

    with_registry(path, run)


@pytest.mark.parametrize("group", range(4))
def test_no_bad_parameter_of_any_route_brings_a_fault(tmp_path: Path, group: int) -> None:
    async def body(api: Api) -> None:
        for operation in OPERATION_NAMES[group::4]:
            method, path = path_of(operation)
            for name in dict.fromkeys((*OPERATIONS[operation].query, *EVERYWHERE)):
                for value in BAD_VALUES:
                    wait = "&wait=1ms" if name in ("index", "hash") else ""
                    answer = await ask(api, method, f"{path}?{name}={value}{wait}")
                    if len(value) > 8192:
                        assert answer.status == 400, (operation, name)
                        assert "longer than" in answer.text
                await ask(api, method, f"{path}?{name}")

    with_agent(tmp_path, body)


def test_what_is_given_twice_counts_once_on_every_route_and_who_calls_whom_is_not_guessed(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for operation in OPERATION_NAMES:
            method, path = path_of(operation)
            for name in (*OPERATIONS[operation].query, *EVERYWHERE):
                if name in REPEATABLE or name in MANY[operation]:
                    continue
                wait = "&wait=1ms" if name in ("index", "hash") else ""
                twice = await ask(api, method, f"{path}?{name}=1&{name}=2{wait}")
                if name in ONCE:
                    assert (twice.status, twice.text) == (400, f'Query parameter "{name}" is given twice'), operation
                else:
                    once = await ask(api, method, f"{path}?{name}=1{wait}")
                    assert (twice.status, said(twice)) == (once.status, said(once)), (operation, name)

    with_agent(tmp_path, body)


MEANS_SOMETHING_EMPTY = {"tag", "node-meta", "cas", "flags", "acquire", "release", "enable", "by"}
"""A tag or a pair without a value is no instance's; the others are refused by name, rather than passed over."""


def test_a_parameter_without_a_value_is_as_if_it_were_not_there_on_every_route(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for operation in OPERATION_NAMES:
            method, path = path_of(operation)
            plain = await ask(api, method, path)
            for name in (*OPERATIONS[operation].query, *EVERYWHERE, *UNSUPPORTED):
                if PARAMETERS.get(name, (TEXT,))[0] is not FLAG and name not in MEANS_SOMETHING_EMPTY:
                    empty = await ask(api, method, f"{path}?{name}=")
                    assert (empty.status, said(empty)) == (plain.status, said(plain)), (operation, name)

    with_agent(tmp_path, body)


def test_an_empty_value_that_would_change_what_a_write_does_is_refused(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for operation, parameters in (
            ("PUT /v1/kv/a", "cas= flags= acquire= release="),
            ("DELETE /v1/kv/a", "cas="),
            ("PUT /v1/agent/maintenance", "enable="),
            ("PUT /v1/config", "cas="),
            ("DELETE /v1/config/service-defaults/a", "cas="),
            ("PUT /v1/operator/autopilot/configuration", "cas="),
        ):
            method, _, path = operation.partition(" ")
            for pair in parameters.split():
                answer = await ask(api, method, f"{path}?{pair}", b"{}" if "kv" not in path else b"v")
                assert answer.status == 400, (operation, pair)
        assert (await ask(api, "GET", "/v1/kv/a")).status == 404

    with_agent(tmp_path, body)


@pytest.mark.parametrize("header", ["X-Consul-Namespace", "X-Consul-Partition"])
def test_no_route_answers_of_the_default_scope_who_asks_for_another(tmp_path: Path, header: str) -> None:
    async def body(api: Api) -> None:
        for operation in OPERATION_NAMES:
            method, path = path_of(operation)
            answer = await api.ask(method, path, headers={header: "team"})
            assert (answer.status, "not supported" in answer.text) == (400, True), operation
        assert (await api.ask("GET", "/v1/catalog/services", headers={header: "default"})).status == 200

    with_agent(tmp_path, body)


def test_a_number_that_is_none_is_refused_wherever_one_is_read(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for operation in OPERATION_NAMES:
            method, path = path_of(operation)
            for name in OPERATIONS[operation].query:
                if PARAMETERS[name][0] is NUMBER and OPERATIONS[operation].body is None and name != "relay-factor":
                    assert (await ask(api, method, f"{path}?{name}=-1")).status in (400, 404, 501), (operation, name)

    with_agent(tmp_path, body)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b'""', b"0", b"{", b"\xff\xfe", b'{"a":' * 100_000, b"[" * 100_000,
        b"[" + b"1," * 50_000 + b"1]",
        b'{"Node":"a","Node":"b"}', b'{"Name":"a","name":"b"}', b'{"Port":1' + b"0" * 5000 + b"}", b'{"Port":1e999}',
        b'{"Meta":{' + b",".join(b'"k%d":"v"' % number for number in range(20_000)) + b"}}", b'{"Name":"\\ud800"}',
        b'{"Name":"a\\u0000b"}', b'{"TTL":-5,"LockDelay":"-9999999h"}', b'[{"KV":{"Verb":"get"}}]',
        b'{"Config":{"a":[[[[]]]]}}',
    ],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_no_bad_body_of_any_route_brings_a_fault(tmp_path: Path, data: bytes) -> None:
    async def body(api: Api) -> None:
        for operation in OPERATION_NAMES:
            method, path = path_of(operation)
            if OPERATIONS[operation].body is not None:
                await ask(api, method, path, data)
        assert (await ask(api, "GET", "/v1/catalog/datacenters")).json() == ["dc1"]

    with_agent(tmp_path, body)


def test_a_body_over_the_limit_is_refused_on_every_route_that_reads_one(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for operation in OPERATION_NAMES:
            method, path = path_of(operation)
            if OPERATIONS[operation].body is not None and path != "/v1/snapshot":
                assert (await ask(api, method, f"{path}?source=a&destination=b", b"x" * 600_000)).status in (
                    413,
                    501,
                ), operation

    with_agent(tmp_path, body)


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/v1/catalog/../agent/self", {404}), ("/v1/catalog/%2e%2e/agent/self", {404}), ("//v1/agent/self", {404}),
        ("/v1//agent/self", {404}), ("/v1/agent%2fself", {404}), ("/v1/agent/self/", {404}), ("/V1/agent/self", {404}),
        ("/v1/agent/self%00", {400}), ("/v1/agent/self;x=1", {404}), ("/v1/agent/self%20", {404}),
        ("/v1/agent\\self", {404}),
        ("/v1/./agent/self", {404}), ("/", {404}), ("/v1", {404}), ("/%", {400, 404}), ("/v1/agent/%zz", {400, 404}),
        ("/v1/health/service/", {400}), ("/v1/health/service/..", {200}),
        ("/v1/health/service/..%2f..%2fagent%2fself", {200}),
        ("/v1/catalog/node/%2e%2e", {200}), ("/v1/agent/service/%00", {400}), ("/v1/agent/service/a%2fb", {404}),
        ("/v1/agent/service/%0a", {400}), ("/v1/agent/service/" + "x" * 8000, {404}), ("/v1/kv/%2e%2e/%2e%2e/x", {404}),
    ],
)  # fmt: skip
def test_a_path_is_what_it_says_and_leads_nowhere_else(tmp_path: Path, path: str, statuses: set[int]) -> None:
    async def body(api: Api) -> None:
        assert api.http.port
        reader, writer = await asyncio.open_connection("127.0.0.1", api.http.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), ANSWER_S)
        writer.close()
        assert int(answer.split()[1]) in statuses, answer[:200]
        assert b'"DebugConfig"' not in answer

    with_agent(tmp_path, body)


@pytest.mark.parametrize(
    "name", ["web.v1", "WEB", "wéb", "網站", "a b", "a/b", "a%b", "💩", "-", "_x", "x" * 128, "../../etc/passwd", "a?b#c&d"]
)  # fmt: skip
def test_a_strange_name_is_kept_as_it_is_or_refused_in_words(tmp_path: Path, name: str) -> None:
    async def body(api: Api) -> None:
        service = {"Service": name, "ID": name, "Port": 1}
        made = await ask(
            api,
            "PUT",
            "/v1/catalog/register",
            json.dumps({"Node": "n", "Address": "127.0.0.1", "Service": service}).encode(),
        )
        assert made.status in (200, 400), made.text
        quoted = "".join(f"%{byte:02x}" for byte in name.encode())
        rows = (await ask(api, "GET", f"/v1/catalog/service/{quoted}")).json()
        assert [row["ServiceName"] for row in rows] == ([name] if made.status == 200 else [])

    with_agent(tmp_path, body)
