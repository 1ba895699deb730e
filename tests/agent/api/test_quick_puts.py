"""The short way of plain KV PUTs: the same answers as the long way, and nothing taken that could be read in another way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chowk.agent.api.quick_puts import QuickPuts
from chowk.agent.config.model import AgentConfig, HttpConfig, LimitsConfig
from chowk.core import errors
from chowk.core.commands import PutKey
from chowk.core.kv_requests import KV_WRITE
from chowk.core.requests import WriteReply
from support.fake_server import until
from support.http_api import Api, context_of_nothing, with_api
from support.short_ways import ELSEWHERE, answer_of, both_ways


def put(key: str = "a", body: bytes = b"hi", *headers: str, length: int | None = None) -> bytes:
    lines = ["Host: x", *headers, f"Content-Length: {len(body) if length is None else length}"]
    return (
        f"PUT /v1/kv/{key} HTTP/1.1\r\n".encode() + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body
    )


FAILURES = [
    errors.InvalidRequest("Key is too long (limit: 512 bytes)"),
    errors.TooLarge("a write of 9 bytes is over the limit"),
    errors.PermissionDenied("Permission denied: no"),
    errors.TooManyRequests("too many writes"),
    errors.InternalError("odd"),
    errors.NotYet("not before the upgrade"),
]


@pytest.mark.parametrize("result", [WriteReply(index=7), WriteReply(index=7, ok=False), *FAILURES], ids=repr)
def test_answers_are_those_of_the_long_way(tmp_path: Path, result: Any) -> None:
    async def body(api: Api) -> None:
        api.server.answer(KV_WRITE, result)
        short, long = await both_ways(api, put())
        assert short == long

    with_api(tmp_path, body)


@pytest.mark.parametrize(
    "request_bytes",
    [
        put("", b"x"),
        put("a?cas=1&acquire=s"),
        put("a?flags=-1"),
        put("a%2fb"),
        put("a", b"x" * 40),
        put("a", b"hi", "Transfer-Encoding: identity, chunked"),
        put("a", b"hi", "Content-Length: 3"),
        put("a", b"hi", "Origin: http://evil.example"),
        put("a", b"hi", "Host: y"),
        put("a", b"hi", "X-Consul-Token: t"),
        b"PUT /v1/kv/a HTTP/1.1\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.0\r\nHost: x\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\nhi",
        b"PUT /v1/kv/a HTTP/1.1\nHost: x\nContent-Length: 2\n\nhi",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost : x\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=lambda request: repr(request)[:90],
)
def test_what_is_not_plain_is_answered_as_on_the_long_way(tmp_path: Path, request_bytes: bytes) -> None:
    async def body(api: Api) -> None:
        api.server.answer(KV_WRITE, WriteReply(index=7))
        short, long = await both_ways(api, request_bytes)
        assert short == long

    with_api(tmp_path, body, AgentConfig(node_name="n", limits=LimitsConfig(kv_max_value_size=32)))


def taken(data: bytes, config: AgentConfig | None = None) -> bool:
    context = context_of_nothing(config)
    answer = QuickPuts(context).take(data)
    if answer is not None:
        answer.close()
    return answer is not None


@pytest.mark.parametrize(
    "data",
    [
        put(),
        put("a/b//../c.d~e_F-9"),
        put("a", b""),
        put("a", b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        put("a", b"hi", "User-Agent: curl/8", "Accept: */*", "Content-Type: text/plain", "Connection: Keep-Alive"),
        put("a", b"hi", "X-Consul-Token: 3f1c"),
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=lambda data: repr(data)[:90],
)
def test_a_plain_request_is_taken(data: bytes) -> None:
    assert taken(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        put()[:-1],
        put() + b"x",
        put() + put(),
        put("a b"),
        put("a?x"),
        put("a#x"),
        put("a%41"),
        put("\u0130"),
        put("a", b"hi", "Expect: 100-continue"),
        put("a", b"hi", "Transfer-Encoding: chunked"),
        put("a", b"hi", "Content-Encoding: gzip"),
        put("a", b"hi", "Content-Length: 2"),
        put("a", b"hi", "Connection: Upgrade"),
        put("a", b"hi", "Origin: http://x"),
        put("a", b"hi", "Authorization: Bearer t"),
        put("a", b"hi", "Accept: a\x00b"),
        put("a", b"hi", "Accept:"),
        put("a", b"hi", "Accept: \xff"),
        put("a", b"hi", "User-Agent: " + "x" * 2048),
        put("a", b"x" * 524_289),
        put("a", b"hi", length=-2),
        put().replace(b"Host: x\r\n", b""),
        put().replace(b"HTTP/1.1", b"HTTP/1.0"),
        put().replace(b"PUT", b"put"),
        put().replace(b"/v1", b"http://x/v1"),
        put().replace(b"Content-Length: 2", b"Content-Length: 02"),
    ],
    ids=lambda data: repr(data)[:90],
)
def test_what_could_be_read_in_another_way_is_left_to_aiohttp(data: bytes) -> None:
    assert not taken(data)


@pytest.mark.parametrize(
    "config",
    [
        AgentConfig(node_name="n", http=HttpConfig(block_endpoints=("/v1/kv",))),
        AgentConfig(node_name="n", http=HttpConfig(allow_write_from=("10.0.0.0/8",))),
        AgentConfig(node_name="n", http=HttpConfig(response_headers={"X-A": "b"})),
        AgentConfig(node_name="n", http=HttpConfig(max_header_bytes=16)),
        AgentConfig(node_name="n", limits=LimitsConfig(kv_max_value_size=1)),
    ],
    ids=["blocked", "writers", "headers", "long head", "long value"],
)
def test_an_agent_that_restricts_writes_judges_them_on_the_long_way(config: AgentConfig) -> None:
    assert not taken(put(), config)


def with_connection(tmp_path: Path, body: Callable[[Api, asyncio.StreamReader, asyncio.StreamWriter], Any]) -> None:
    async def run(api: Api) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.http.port)
        await body(api, reader, writer)
        writer.close()

    with_api(tmp_path, run)


def test_a_key_its_value_and_the_token_arrive_at_the_server(tmp_path: Path) -> None:
    async def body(api: Api, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        api.server.answer(KV_WRITE, WriteReply(index=7))
        writer.write(put("a/b//../c", b"\x00\r\n\r\n\xff", "X-Consul-Token: secret"))
        await answer_of(reader)
        ((_name, write),) = api.server.calls
        assert write.command == PutKey(key=b"a/b//../c", value=b"\x00\r\n\r\n\xff")
        assert write.token == "secret"

    with_connection(tmp_path, body)


def test_requests_that_come_before_the_answer_are_answered_in_order_whatever_way_they_go(tmp_path: Path) -> None:
    async def body(api: Api, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        release = asyncio.Event()

        async def slow(_write: Any) -> WriteReply:
            await release.wait()
            return WriteReply(index=7, ok=False)

        api.server.answer(KV_WRITE, slow)
        writer.write(put("one"))
        await until(lambda: api.server.calls)
        writer.write(put("two") + ELSEWHERE + put("three"))
        release.set()
        answers = [await answer_of(reader) for _ in range(4)]
        assert [answer.rpartition(b"\r\n")[2] for answer in answers] == [
            b"false",
            b"false",
            b"Invalid URL path: not a recognized HTTP API endpoint",
            b"false",
        ]
        assert [write.command.key for _name, write in api.server.calls] == [b"one", b"two", b"three"]

    with_connection(tmp_path, body)


def test_a_client_that_goes_away_cancels_its_write(tmp_path: Path) -> None:
    async def body(api: Api, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        api.server.answer(KV_WRITE, lambda _write: asyncio.Event().wait())
        writer.write(put())
        await until(lambda: api.server.calls)
        writer.close()
        await until(lambda: api.server.cancelled)
        await until(lambda: not api.http.connections_open)

    with_connection(tmp_path, body)


def test_a_write_under_way_may_end_when_the_api_closes(tmp_path: Path) -> None:
    async def body(api: Api, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        release = asyncio.Event()

        async def slow(_write: Any) -> WriteReply:
            await release.wait()
            return WriteReply(index=7)

        api.server.answer(KV_WRITE, slow)
        writer.write(put())
        await until(lambda: api.server.calls)
        closing = asyncio.ensure_future(api.http.close())
        await asyncio.sleep(0)
        release.set()
        assert (await answer_of(reader)).endswith(b"true")
        await closing
        assert await reader.read() == b""

    with_connection(tmp_path, body)


def test_more_than_one_request_may_not_wait_unread(tmp_path: Path) -> None:
    """The peer's system holds back what is sent before the answer: no buffer here grows."""

    async def body(api: Api, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        api.server.answer(KV_WRITE, lambda _write: asyncio.Event().wait())
        writer.write(put())
        await until(lambda: api.server.calls)

        async def flood() -> None:
            for _ in range(1000):
                writer.write(put("b", b"x" * 100_000))
                await writer.drain()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(), 0.5)

    with_connection(tmp_path, body)
