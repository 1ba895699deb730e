"""The short way of plain GETs: the same answers as the long way, and nothing taken that could be read in another way."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import pytest

from chowk.agent.api.quick_gets import QuickGets
from chowk.agent.config.model import AgentConfig, HttpConfig
from chowk.core import errors
from chowk.core.kv_requests import KV_READ, KeyReply
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.kv import KVEntry
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.core.requests import HEALTH_INSTANCES, InstancesReply, QueryMeta
from support.fake_server import until
from support.http_api import Api, context_of_nothing, with_api, with_registry
from support.short_ways import answer_of, both_ways

META = QueryMeta(index=7, known_leader=True, last_contact_ms=3, consistency="leader")
HELD = KVEntry(key=b"a", value=b"hi", flags=3, lock_index=1, session="s", create_index=5, modify_index=7)


def instance(number: int) -> ServiceInstance:
    service = NodeService(id=f"web-{number}", service="web", port=number, tags=("v1",), meta={"k": "ü" * 20})
    return ServiceInstance(node=Node(node=f"n{number}", address="10.0.0.1"), service=service)


def get(target: str, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in ("Host: x", *headers))
    return f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode()


@pytest.mark.parametrize(
    "target",
    [
        "/v1/health/service/web",
        "/v1/health/service/web?passing",
        "/v1/health/service/web?passing=false&stale",
        "/v1/health/connect/web?consistent=1",
        "/v1/catalog/service/web",
        "/v1/catalog/connect/web?stale=",
        "/v1/kv/a",
        "/v1/kv/a?stale",
        "/v1/health/service/web?stale&consistent",
        "/v1/health/service/web?index=-1",
        "/v1/health/service/web?index=1&wait=soon",
        "/v1/health/service/web?passing=perhaps",
        "/v1/health/service/web?stale=yes",
        "/v1/health/service/web?index=&wait=&dc=&near=&filter=&stale=0",
        "/v1/health/service/web?index=0&index=x&passing=1&passing=maybe",
        "/v1/health/service/web?ns=default&partition=&peer=",
        "/v1/health/service/web?dc=elsewhere",
        "/v1/health/service/web?dc=dc1",
        "/v1/health/service/web?tag=v2",
        "/v1/health/service/web?tag=v1&tag=V1&passing",
        "/v1/health/service/web?tag=v%31&tag=a+b",
        "/v1/health/service/web?node-meta=a:b&node-meta=c%3Ad",
        "/v1/health/service/web?filter=Service.Port+%3D%3D+7",
        "/v1/health/service/web?filter=Service.Port==7&tag=v1",
        "/v1/health/service/web?filter=%22web-3%22+in+Service.ID",
        "/v1/health/service/web?filter=Service.Port%20=%207",
        "/v1/health/service/web?filter=%zz",
        "/v1/health/service/web?filter=Node.Node+matches+%22%C3%BC%22",
        "/v1/health/service/web?filter=",
        "/v1/catalog/service/web?filter=ServicePort+!=+7",
        "/v1/health/service/web?filter=not(Service.Port+!=+7)+or+%22v1%22+in+Service.Tags",
        "/v1/catalog/service/web?filter=Service.Port+==+7",
        "/v1/catalog/service/web?passing&tag=v1",
        "/v1/catalog/connect/web?near=n1",
        "/v1/kv/a?dc=dc1",
        "/v1/kv/a?tag=v1",
        "/v1/health/service/web?stale&stale",
        "/v1/health/service/web?near=_agent",
        "/v1/health/service/web?pretty",
        "/v1/health/service/",
        "/v1/health/service/web/more",
        "/v1/kv/a?raw",
        "/v1/kv/a?passing",
        "/v1/kv/a//../b",
        "/v1/kv/",
    ],
)
@pytest.mark.parametrize("count", [0, 1, 60])
def test_answers_are_those_of_the_long_way(tmp_path: Path, target: str, count: int) -> None:
    async def body(api: Api) -> None:
        found = InstancesReply(meta=META, instances=tuple(instance(number) for number in range(count)), history="h")
        api.server.answer(HEALTH_INSTANCES, found)
        api.server.answer(KV_READ, KeyReply(meta=META, entry=HELD if count else None))
        for headers in ((), ("Accept-Encoding: gzip, deflate",), ("Accept-Encoding: br",), ("X-Consul-Token: t",)):
            short, long = await both_ways(api, get(target, *headers))
            assert short == long

    with_api(tmp_path, body)


@pytest.mark.parametrize(
    "failure",
    [errors.PermissionDenied("no"), errors.InvalidRequest("Key is too long"), errors.InternalError("odd")],
    ids=repr,
)
def test_failures_are_those_of_the_long_way(tmp_path: Path, failure: errors.ChowkError) -> None:
    async def body(api: Api) -> None:
        api.server.answer(HEALTH_INSTANCES, failure)
        api.server.answer(KV_READ, failure)
        for target in ("/v1/health/service/web", "/v1/kv/a"):
            short, long = await both_ways(api, get(target))
            assert short == long

    with_api(tmp_path, body)


def taken(data: bytes, config: AgentConfig | None = None) -> bool:
    async def ask() -> bool:
        context = context_of_nothing(config)
        waiting = QuickGets(context).take(data)
        if waiting is not None:
            waiting.future.cancel()
        await context.shared.close()
        return waiting is not None

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "data",
    [
        get("/v1/kv/a"),
        get("/v1/health/service/web?index=12&wait=10s&stale&passing"),
        get("/v1/health/service/web?tag=a%20b&tag=c&dc=dc1&filter=Service.Port==1"),
        get("/v1/catalog/connect/web.x_y~z-1", "User-Agent: Go-http-client/1.1", "Accept-Encoding: gzip"),
    ],
)
def test_a_plain_request_is_taken(data: bytes) -> None:
    assert taken(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        get("/v1/kv/a")[:-1],
        get("/v1/kv/a") + b"x",
        get("/v1/kv/a") * 2,
        get("/v1/kv/a%2fb"),
        get("/v1/kv/a?keys"),
        get("/v1/kv/a?index=1&index=2"),
        get("/v1/kv/a?index=1=2"),
        get("/v1/kv/a?&"),
        get("/v1/kv/a?index=%31"),
        get("/v1/kv/a", "Content-Length: 0"),
        get("/v1/kv/a", "Transfer-Encoding: chunked"),
        get("/v1/kv/a", "Origin: http://evil.example"),
        get("/v1/kv/a", "Connection: close"),
        get("/v1/kv/a", "Authorization: Bearer t"),
        get("/v1/kv/a", "Host: y"),
        get("/v1/kv/a", "X-Consul-Token: t\xe4"),
        get("/v1/kv/a").replace(b"GET", b"HEAD"),
        get("/v1/kv/a").replace(b"HTTP/1.1", b"HTTP/1.0"),
        get("/v1/kv/a").replace(b"\r\n", b"\n"),
        b"GET /v1/kv/a HTTP/1.1\r\nAccept: */*\r\n\r\n",
        get("/v1/kv/" + "a" * 4000),
        get("/v1/health/state/any"),
        get("/v1/health/service/web?cached&consistent"),
        get("/v1/health/service/web?dc=dc2"),
        get("/v1/health/service/web?filter=Nothing==1"),
        get("/v1/health/service/web?tag=%ff"),
        get("/v1/health/service/web?wait=10%73"),
        get("/v1/health/service/web?ns=x"),
    ],
)
def test_what_is_not_plain_is_left_to_the_long_way(data: bytes) -> None:
    assert not taken(data)


@pytest.mark.parametrize(
    "http",
    [HttpConfig(block_endpoints=("/v1/kv",)), HttpConfig(response_headers={"X": "y"})],
)
def test_an_agent_that_restricts_or_adds_takes_nothing(http: HttpConfig) -> None:
    assert not taken(get("/v1/kv/a"), AgentConfig(node_name="n", http=http))


def test_a_waiting_client_that_goes_away_ends_the_servers_wait_at_once_also_with_more_requests_behind(
    tmp_path: Path,
) -> None:
    async def body(api: Api) -> None:
        forever = asyncio.Event()
        api.server.answer(KV_READ, lambda _query: forever.wait())
        for number, after in enumerate((b"", get("/v1/kv/a"))):
            _reader, writer = await asyncio.open_connection("127.0.0.1", api.http.port)
            writer.write(get("/v1/kv/a?index=7"))
            await until(lambda: len(api.server.calls) == number + 1)  # noqa: B023
            writer.write(after)
            writer.write_eof()
            await until(lambda: len(api.server.cancelled) == number + 1)  # noqa: B023
            await until(lambda: api.http.connections_open == 0)
            assert len(api.context.shared) == 0
            writer.close()

    with_api(tmp_path, body)


def test_watchers_of_one_service_hear_of_a_change_by_one_read_and_one_encoding(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        web = {"Node": "n1", "Address": "10.0.0.1", "Service": {"ID": "web", "Service": "web", "Port": 1}}
        await api.put("/v1/catalog/register", web)
        index = (await api.get("/v1/health/service/web")).headers["X-Consul-Index"]
        path = f"/v1/health/service/web?index={index}&wait=30s"
        pairs = [await asyncio.open_connection("127.0.0.1", api.http.port) for _ in range(150)]
        for _reader, writer in pairs:
            writer.write(get(path))
        long = [asyncio.ensure_future(api.get(f"{path}&dc=dc1")) for _ in range(20)]
        await until(lambda: len(api.context.shared) == 2)  # one names its datacenter, one does not
        await api.put("/v1/catalog/register", {**web, "Service": {**web["Service"], "Port": 2}})  # type: ignore[dict-item]
        answers = [await answer_of(reader) for reader, _writer in pairs]
        assert len(set(answers)) == 1
        assert b'"Port":2' in answers[0]
        assert {answer.body for answer in await asyncio.gather(*long)} == {answers[0].partition(b"\r\n\r\n")[2]}
        for _reader, writer in pairs:
            writer.close()

    with_registry(tmp_path, body)


def test_answers_from_views_are_those_of_the_long_way(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for number in range(30):
            service = {"ID": f"web-{number}", "Service": "web", "Port": number, "Tags": [f"v{number % 2}"]}
            await api.put("/v1/catalog/register", {"Node": f"n{number}", "Address": "10.0.0.1", "Service": service})
        for target in (
            "/v1/health/service/web?cached",
            "/v1/health/service/web?cached&passing&tag=v1",
            "/v1/health/service/WEB?cached&filter=Service.Port+!=+3",
            "/v1/catalog/service/web?cached&dc=dc1",
            "/v1/health/connect/web?cached",
            "/v1/health/service/nobody?cached",
            "/v1/health/service/web?cached&near=n1",
            "/v1/health/service/web?cached&index=1",
        ):
            for headers in ((), ("Accept-Encoding: gzip",)):
                await both_ways(api, get(target, *headers))  # from now on the view is there
                short, long = await both_ways(api, get(target, *headers))
                assert short == long
                assert (b"X-Cache: HIT" in short) == ("near" not in target)
        index = (await api.get("/v1/health/service/web?cached")).headers["X-Consul-Index"]
        reader, writer = await asyncio.open_connection("127.0.0.1", api.http.port)
        writer.write(get(f"/v1/health/service/web?cached&index={index}&wait=30s"))
        web = {"Node": "n1", "Address": "10.0.0.1", "Service": {"ID": "web-1", "Service": "web", "Port": 4711}}
        await api.put("/v1/catalog/register", web)
        assert b'"Port":4711' in await answer_of(reader)
        writer.write(get(f"/v1/health/service/web?cached&index={2**40}&wait=30s"))
        await until(lambda: api.http.connections_open > 0)
        writer.close()

    with_registry(tmp_path, body)


def test_a_write_that_was_acknowledged_is_in_every_read_after_it(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        stop = asyncio.Event()

        async def read_on() -> None:
            while not stop.is_set():
                await api.get("/v1/health/service/web")

        readers = [asyncio.ensure_future(read_on()) for _ in range(8)]
        for port in range(1, 60):
            web = {"Node": "n1", "Address": "10.0.0.1", "Service": {"ID": "web", "Service": "web", "Port": port}}
            await api.put("/v1/catalog/register", web)
            for target in ("/v1/health/service/web", "/v1/health/service/web?dc=dc1"):  # the short way and the long
                assert (await api.get(target)).json()[0]["Service"]["Port"] == port
        stop.set()
        await asyncio.gather(*readers)

    with_registry(tmp_path, body)


def test_a_body_is_compressed_when_asked_for_and_not_when_it_is_small(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for count, coded in ((1, False), (60, True)):
            rows = tuple(instance(number) for number in range(count))
            api.server.answer(HEALTH_INSTANCES, InstancesReply(meta=META, instances=rows, history=f"h{count}"))
            plain = await both_ways(api, get("/v1/health/service/web"))
            packed = await both_ways(api, get("/v1/health/service/web", "Accept-Encoding: gzip"))
            assert [b"Content-Encoding: gzip" in answer for answer in packed] == [coded] * 2
            for one, other in zip(plain, packed, strict=True):
                data = other.partition(b"\r\n\r\n")[2]
                assert one.partition(b"\r\n\r\n")[2] == (gzip.decompress(data) if coded else data)

    with_api(tmp_path, body)
