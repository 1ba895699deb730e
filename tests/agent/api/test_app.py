"""What holds for every request: the table, methods, headers, who may come in, bounds, failures."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from chowk.agent.api.app import make_app
from chowk.agent.api.replies import text_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import ANYONE, Route
from chowk.agent.api.routes import ROUTES
from chowk.agent.config.model import AgentConfig, HttpConfig, LimitsConfig
from chowk.core import errors
from chowk.core.requests import (
    CATALOG_NODES,
    CATALOG_WRITE,
    STATUS_LEADER,
    LeaderReply,
    NodesReply,
    QueryMeta,
    WriteReply,
)
from support.fake_server import until
from support.http_api import Api, context_of_nothing, with_api

NODES = NodesReply(meta=QueryMeta(index=7, last_contact_ms=3), nodes=())


async def echo(request: ApiRequest) -> web.Response:
    return text_reply(f"{request.method} {request.part('name')} {request.token} {len(await request.body())}")


async def broken(_request: ApiRequest) -> web.Response:
    raise ZeroDivisionError("a bug")


ECHO = (
    Route(("GET", "PUT"), "/v1/echo/{name:.*}", echo, ANYONE, body_bytes_max=1000),
    Route(("GET",), "/v1/broken", broken, ANYONE),
)


def test_a_route_without_a_permission_does_not_start() -> None:
    with pytest.raises(ValueError, match="/v1/x names no permission"):
        make_app(context_of_nothing(), (Route(("GET",), "/v1/x", echo, ""),))


def test_two_routes_for_one_method_of_a_path_do_not_start() -> None:
    route = Route(("GET",), "/v1/x", echo, ANYONE)
    with pytest.raises(ValueError, match="two routes answer GET /v1/x"):
        make_app(context_of_nothing(), (route, route))


def test_every_route_names_the_permission_it_needs_as_resource_and_access() -> None:
    for route in ROUTES:
        resource, _, access = route.permission.partition(":")
        assert route.permission == ANYONE or (resource and access in ("read", "write", "list")), route


def test_an_unknown_path_is_told_so_in_plain_text(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for path in ("/v1/nope", "/", "/v1/catalog/nodes/", "/v1//catalog/nodes", "/v1/catalog/%2e%2e/x"):
            answer = await api.get(path)
            assert (answer.status, answer.text) == (404, "Invalid URL path: not a recognized HTTP API endpoint"), path
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"

    with_api(tmp_path, body)


def test_another_method_is_refused_with_those_that_are_allowed(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        answer = await api.ask("DELETE", "/v1/catalog/nodes")
        assert (answer.status, answer.text) == (405, "method DELETE not allowed")
        assert answer.headers["Allow"] == "GET, HEAD"
        assert (await api.ask("POST", "/v1/connect/intentions/match")).status == 405
        options = await api.ask("OPTIONS", "/v1/connect/intentions/exact")
        assert (options.status, options.headers["Allow"]) == (200, "OPTIONS, DELETE, GET, HEAD, PUT")

    with_api(tmp_path, body)


def test_head_answers_as_get_without_the_body(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(CATALOG_NODES, NODES)
        head, get = await api.ask("HEAD", "/v1/catalog/nodes"), await api.get("/v1/catalog/nodes")
        assert head.status == get.status == 200
        assert head.body == b""
        assert head.headers["X-Consul-Index"] == get.headers["X-Consul-Index"] == "7"
        assert head.headers["Content-Length"] == "2"

    with_api(tmp_path, body)


def test_a_read_carries_consuls_headers_and_json_is_laid_out_when_asked(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(CATALOG_NODES, NODES)
        api.server.answer(STATUS_LEADER, LeaderReply(leader="127.0.0.1:8300", peers=("127.0.0.1:8300",)))
        answer = await api.get("/v1/catalog/nodes")
        assert answer.body == b"[]"
        assert {name: answer.headers[name] for name in answer.headers if name.startswith("X-Consul")} == {
            "X-Consul-Index": "7",
            "X-Consul-KnownLeader": "true",
            "X-Consul-LastContact": "3",
            "X-Consul-Effective-Consistency": "leader",
            "X-Consul-Query-Backend": "blocking-query",
            "X-Consul-Default-ACL-Policy": "allow",
        }
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert (await api.get("/v1/status/peers?pretty")).text == '[\n    "127.0.0.1:8300"\n]\n'
        assert (await api.get("/v1/status/leader")).json() == "127.0.0.1:8300"

    with_api(tmp_path, body)


def test_an_index_of_zero_is_never_told(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(CATALOG_NODES, NodesReply(meta=QueryMeta(index=0), nodes=()))
        assert (await api.get("/v1/catalog/nodes")).headers["X-Consul-Index"] == "1"

    with_api(tmp_path, body)


def test_the_token_is_found_in_each_of_its_places(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for path, headers in (
            ("/v1/echo/a?token=t1", {}),
            ("/v1/echo/a", {"X-Consul-Token": "t1"}),
            ("/v1/echo/a", {"Authorization": "Bearer t1"}),
            ("/v1/echo/a?token=t1", {"X-Consul-Token": "t2"}),
        ):
            assert (await api.get(path, headers=headers)).text == "GET a t1 0"
        assert (await api.get("/v1/echo/a", headers={"Authorization": "Basic t1"})).text == "GET a  0"

    with_api(tmp_path, body, routes=ECHO)


def test_a_path_may_carry_any_name(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for sent, seen in (("a%2Fb", "a/b"), ("a/b", "a/b"), ("%C3%A4%20x", "ä x"), ("", "")):
            assert (await api.get(f"/v1/echo/{sent}")).text == f"GET {seen}  0"


def test_a_path_with_unprintable_characters_is_refused(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for sent in ("a%00b", "a%0Ab", "%1b[2J", "a%C2%85", "a%E2%80%AEb"):
            answer = await api.get(f"/v1/echo/{sent}")
            assert (answer.status, answer.text) == (400, "Invalid URL path: it contains unprintable characters")

    with_api(tmp_path, body, routes=ECHO)


def test_a_body_over_the_limit_is_refused_whether_announced_or_streamed(tmp_path: Path) -> None:
    async def endless() -> object:
        for _ in range(100):
            yield b"x" * 100

    async def body(api: Api) -> None:
        assert (await api.put("/v1/echo/a", data=b"x" * 1000)).text == "PUT a  1000"
        announced = await api.put("/v1/echo/a", data=b"x" * 1001)
        assert announced.status == 413
        assert announced.text.startswith("Request body(1001 bytes) too large, max size: 1000 bytes. See")
        streamed = await api.put("/v1/echo/a", data=endless())
        assert streamed.status == 413
        assert "too large, max size: 1000 bytes" in streamed.text

    with_api(tmp_path, body, routes=ECHO)


def test_a_bug_is_answered_500_without_its_details_and_the_next_request_works(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        answer = await api.get("/v1/broken")
        assert answer.status == 500
        assert "a bug" not in answer.text
        assert (await api.get("/v1/echo/a")).status == 200

    with_api(tmp_path, body, routes=ECHO)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (errors.NoPathToDatacenter(), 500, "No path to datacenter"),
        (errors.InvalidRequest("bad"), 400, "bad"),
        (errors.NotFound("gone"), 404, "gone"),
        (errors.PermissionDenied("Permission denied"), 403, "Permission denied"),
        (errors.TooManyRequests("slow down"), 429, "slow down"),
        (errors.TooLarge("big"), 413, "big"),
        (errors.InternalError("oops"), 500, "oops"),
    ],
)
def test_an_error_of_the_servers_becomes_its_status_and_text(
    tmp_path: Path, error: errors.ChowkError, status: int, text: str
) -> None:
    async def body(api: Api) -> None:
        api.server.answer(CATALOG_NODES, lambda _request: error)
        answer = await api.get("/v1/catalog/nodes")
        assert (answer.status, answer.text) == (status, text)

    with_api(tmp_path, body)


def test_another_datacenter_has_no_path_on_any_route(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(CATALOG_NODES, NODES)
        for path in ("/v1/catalog/nodes?dc=mars", "/v1/status/leader?dc=mars", "/v1/health/service/web?dc=mars"):
            answer = await api.get(path)
            assert (answer.status, answer.text) == (500, "No path to datacenter")
        assert (await api.get("/v1/catalog/nodes?dc=dc1")).status == 200

    with_api(tmp_path, body)


def test_blocked_endpoints_are_shut_however_they_are_spelt(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(CATALOG_NODES, NODES)
        for path in ("/v1/catalog/nodes", "/v1/c%61talog/nodes", "/v1/catalog/service/web"):
            answer = await api.get(path)
            assert (answer.status, answer.text) == (403, "Endpoint is blocked by agent configuration"), path
        api.config = AgentConfig(node_name="n1")
        assert (await api.get("/v1/catalog/nodes")).status == 200

    with_api(tmp_path, body, AgentConfig(node_name="n1", http=HttpConfig(block_endpoints=("/v1/catalog",))))


def test_only_the_networks_allowed_may_write(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(CATALOG_NODES, NODES)
        api.server.answer(CATALOG_WRITE, WriteReply(index=1))
        answer = await api.put("/v1/catalog/deregister", {"Node": "n"})
        assert (answer.status, answer.text) == (403, "Access is restricted")
        assert (await api.get("/v1/catalog/nodes")).status == 200
        allowed = HttpConfig(allow_write_from=("10.0.0.0/8", "127.0.0.0/8"))
        api.config = msgspec.structs.replace(api.config, http=allowed)
        assert (await api.put("/v1/catalog/deregister", {"Node": "n"})).status == 200

    with_api(tmp_path, body, AgentConfig(node_name="n1", http=HttpConfig(allow_write_from=("10.0.0.0/8",))))


def test_configured_headers_are_on_every_response_and_cannot_loosen_ours(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for path in ("/v1/nope", "/v1/echo/a"):
            answer = await api.get(path)
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"

    headers = {"X-Frame-Options": "DENY", "x-content-type-options": "off", "content-type": "text/html"}
    with_api(tmp_path, body, AgentConfig(node_name="n1", http=HttpConfig(response_headers=headers)), ECHO)


def test_one_client_may_open_only_so_many_connections(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        held = [await asyncio.open_connection("127.0.0.1", api.http.port) for _ in range(3)]
        await until(lambda: api.http.connections_open == 3)
        reader, writer = await asyncio.open_connection("127.0.0.1", api.http.port)
        refusal = await reader.read()
        assert refusal.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert b"too many concurrent connections" in refusal
        writer.close()
        held[0][1].close()
        await until(lambda: api.http.connections_open == 2)
        assert (await api.get("/v1/echo/a")).status == 200
        for _reader, other in held[1:]:
            other.close()

    config = AgentConfig(node_name="n1", limits=LimitsConfig(http_max_conns_per_client=3))
    with_api(tmp_path, body, config, ECHO)


def test_heads_over_the_limit_and_garbage_are_refused_and_harm_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(api: Api) -> None:
        heads = (
            b"GET /v1/echo/a HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 1_000_000 + b"\r\n\r\n",
            b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /v1/echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
            b"GET /v1/echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\x00" * 100,
        )
        for head in heads:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.http.port)
            try:
                writer.write(head + b"\r\n\r\n")
                answer = await asyncio.wait_for(reader.read(65536), 5)
            except ConnectionError:
                answer = b""
            assert not answer or answer.split()[1] in (b"400", b"431"), answer[:80]
            writer.close()
        assert (await api.get("/v1/echo/a")).status == 200
        assert not caplog.records

    with_api(tmp_path, body, routes=ECHO)


@pytest.mark.parametrize(
    ("head", "status", "text"),
    [
        (b"GET /v1/echo/a HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 20_000, b"431", b"head is too large"),
        (b"GET /v1/echo/" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x", b"431", b"head is too large"),
        (b"GET /v1/echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: -5", b"400", b"no HTTP request"),
        (b"NONSENSE", b"400", b"no HTTP request"),
    ],
)
def test_what_cannot_be_read_is_answered_in_our_words_and_the_connection_ends(
    tmp_path: Path, head: bytes, status: bytes, text: bytes
) -> None:
    async def body(api: Api) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.http.port)
        writer.write(b"GET /v1/echo/first HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"GET first  0")
        writer.write(head + b"\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.split()[1] == status
        assert text in answer
        assert b"\r\nServer: chowk\r\n" in answer
        assert b"aiohttp" not in answer
        writer.close()

    with_api(tmp_path, body, routes=ECHO)


def test_a_client_that_goes_away_ends_its_blocking_query_at_the_server(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        async def never(_request: object) -> None:
            await asyncio.Event().wait()

        api.server.answer(CATALOG_NODES, never)
        _reader, writer = await asyncio.open_connection("127.0.0.1", api.http.port)
        writer.write(b"GET /v1/catalog/nodes?index=7 HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: api.server.calls)
        writer.close()
        await until(lambda: api.server.cancelled == [CATALOG_NODES.name])

    with_api(tmp_path, body)


def test_while_no_server_leads_a_request_is_held_and_then_told(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        answers: list[object] = [errors.NoLeader(), errors.NoLeader(), NODES]
        api.server.answer(CATALOG_NODES, lambda _request: answers.pop(0))
        assert (await api.get("/v1/catalog/nodes")).status == 200

    with_api(tmp_path, body)


def test_json_of_the_wrong_kind_is_told_what_is_wrong(tmp_path: Path) -> None:
    bad = {
        b"": "EOF",
        b"{": "truncated",
        b"nope": "malformed",
        b'{"Node": NaN}': "malformed",
        b'{"Node": 1e999}': "out of range",
        b'{"Node": "a", "Node": "b"}': 'the key "Node" is given twice',
        b'{"Node": "a", "node": "b"}': 'the key "node" is given twice',
        b'{"Node": "\xff"}': "not UTF-8",
        b'{"Node": "\\ud800"}': "",
        b"[" * 100_000: "nested deeper than 64",
        b"[" * 200 + b"]" * 200: "nested deeper than 64",
        b'{"Node": 5}': "Expected `str`, got `int` - at `$.Node`",
        b'{"Nodes": "a"}': 'unknown field "Nodes"',
        b"[]": "Expected `object`",
        b'"x"': "Expected `object`",
    }

    async def body(api: Api) -> None:
        for data, reason in bad.items():
            answer = await api.put("/v1/catalog/deregister", data=data)
            assert answer.status == 400, (data[:40], answer.text)
            assert answer.text.startswith("Request decode failed: "), data[:40]
            assert reason in answer.text, data[:40]
        assert api.server.calls == []

    with_api(tmp_path, body)


def test_closing_does_not_wait_for_blocking_queries(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        async def never(_request: object) -> None:
            await asyncio.Event().wait()

        api.server.answer(CATALOG_NODES, never)
        blocked = asyncio.ensure_future(api.get("/v1/catalog/nodes?index=7"))
        await until(lambda: api.server.calls)
        async with asyncio.timeout(3):
            await api.http.close()
        await asyncio.wait([blocked])
        assert blocked.exception() is not None
        assert api.http.connections_open == 0

    with_api(tmp_path, body)
