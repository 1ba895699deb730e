"""Clients and servers that misbehave on purpose, over raw sockets: who is lied to learns it, nobody else is harmed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

import pytest
import uvloop

from chowk.connect.stats.edges import CLASSES
from chowk.connect.stats.observation import RequestRecord
from support.http_rig import Client, HttpApp, HttpRig, once, to
from support.mesh_rig import until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def answers(text: bytes, *, close: bool = False, reset: bool = False):
    async def script(head, reader, writer):
        writer.write(text)
        await writer.drain()
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif close:
            writer.close()

    return script


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", "upstream-cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "upstream-cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "upstream-cut"),
    ],
)
def test_an_answer_cut_in_its_middle_is_a_cut_for_the_client_too(text, reason, tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = answers(text, close=True)
            client = await Client.open(port)
            client.send(GET)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.answer()
            assert client.reader.at_eof() or client.reader.exception()
            client.close()
            rig.http.script = None
            assert (await once(port)).status == 200
            edge = rig.proxies["api"].describe().edges[0]
            assert edge.reasons == {reason: 1}
            assert dict(zip(CLASSES, edge.requests, strict=True)) == dict.fromkeys(CLASSES, 0) | {"none": 1, "2xx": 1}

    uvloop.run(run())


def test_a_client_of_http_1_0_sees_a_reset_not_an_end_when_the_answer_is_cut(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = answers(b"HTTP/1.1 200 OK\r\n\r\nno length", reset=True)
            client = await Client.open(port)
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await client.ended()
            client.close()

    uvloop.run(run())


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nwhat\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    ],
)
def test_an_answer_that_can_be_read_in_two_ways_is_none(text, tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            rig.http.script = answers(text)
            for _ in range(2):
                got = await client.ask()
                assert (got.status, got.error) == (502, "bad-response")
            rig.http.script = None
            assert (await client.ask("/fine")).body == b"app /fine 0"
            client.close()

    uvloop.run(run())


def test_bytes_behind_an_answer_are_nobodys_answer(tmp_path):
    async def run():
        evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            rig.http.script = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood" + evil)
            for _ in range(5):
                assert (await client.ask()).body == b"good"
            assert rig.http.connections == 5
            client.close()

    uvloop.run(run())


def test_bytes_on_an_idle_connection_end_it(tmp_path):
    async def run():
        async def script(head, reader, writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            rig.http.script = script
            api = rig.proxies["api"].state.http
            for _ in range(3):
                assert (await client.ask()).body == b"good"
                await until(lambda: all(pool.idle == 0 for pool in api.pools), "the connection was ended")
            client.close()

    uvloop.run(run())


def test_a_server_that_closes_without_an_answer_is_asked_once(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = answers(b"", close=True)
            got = await once(port, method="POST", body=b"pay 10")
            assert (got.status, got.error) == (502, "upstream-reset")
            assert len(rig.http.heads) == 1

    uvloop.run(run())


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("POST", 1)])
def test_a_kept_connection_that_dies_when_it_is_used_is_tried_again_only_where_that_is_safe(method, times, tmp_path):
    async def run():
        async def script(head, reader, writer):
            if b"/die" in head and not died:
                died.append(head)
                writer.transport.abort()
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        died: list[bytes] = []
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            rig.http.script = script
            assert (await client.ask()).body == b"ok"
            got = await client.ask("/die", method)
            assert got.status == (200 if times == 2 else 502)
            assert sum(b"/die" in head for head in rig.http.heads) == times
            client.close()

    uvloop.run(run())


def test_an_application_that_closes_kept_connections_fails_nobody(tmp_path):
    async def run():
        async def script(head, reader, writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            writer.close()

        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            rig.http.script = script
            for _ in range(100):
                assert (await client.ask()).status == 200
            client.close()

    uvloop.run(run())


def test_a_server_that_never_answers_costs_the_timeout_of_the_request(tmp_path):
    async def run():
        async def script(head, reader, writer):
            await asyncio.Event().wait()

        async with HttpRig(tmp_path) as rig:
            public = await rig.serve_http("api", request_timeout_s=0.4)
            port = await rig.use("web", "api", [public], protocol="http")
            rig.http.script = script
            client = await Client.open(port)
            began = asyncio.get_running_loop().time()
            got = await client.ask()
            assert (got.status, got.error) == (504, "request-timeout")
            assert asyncio.get_running_loop().time() - began < 2
            rig.http.script = None
            assert (await client.ask()).status == 200
            client.close()

    uvloop.run(run())


def test_an_answer_that_takes_too_long_after_it_began_is_cut(tmp_path):
    async def run():
        async def script(head, reader, writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
            await asyncio.Event().wait()

        async with HttpRig(tmp_path) as rig:
            port = await rig.routed((to("api", timeout_s=0.4),), {"api": [await rig.serve_http()]})
            rig.http.script = script
            client = await Client.open(port)
            client.send(GET)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.answer()
            client.close()

    uvloop.run(run())


def test_heads_and_bodies_that_do_not_come_end_their_connection(tmp_path):
    async def run():
        settings = {"http_head_s": 0.5, "http_body_s": 0.5, "http_look_s": 0.05, "http_linger_s": 0.1}
        async with HttpRig(tmp_path, **settings) as rig:
            port = await rig.pair_http()
            head, body, held = await Client.open(port), await Client.open(port), await Client.open(port)
            head.send(b"GET / HTTP/1.1\r\n")
            body.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")

            async def drip():
                for _ in range(1000):
                    held.send(b"X: y\r\n")
                    await asyncio.sleep(0.05)

            held.send(b"GET / HTTP/1.1\r\n")
            dripping = asyncio.ensure_future(drip())
            for client in (head, body, held):
                got = await client.answer()
                assert (got.status, got.error) == (408, "client-timeout")
            dripping.cancel()
            await until(lambda: not rig.proxies["web"].state.http.served, "all are gone")
            assert (await once(port)).status == 200
            for client in (head, body, held):
                client.close()

    uvloop.run(run())


def test_a_client_that_does_not_take_its_answer_is_ended(tmp_path):
    async def run():
        async def script(head, reader, writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            while True:
                writer.write(b"a" * 65536)
                await writer.drain()

        async with HttpRig(tmp_path, http_stall_s=1.0, http_look_s=0.1) as rig:
            port = await rig.pair_http()
            rig.http.script = script
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
            await until(lambda: not rig.proxies["web"].state.http.served, "it was ended")
            await until(lambda: not rig.http._writers, "and the application was told")
            writer.close()

    uvloop.run(run())


def test_work_for_a_client_that_went_away_is_stopped(tmp_path):
    async def run():
        async def script(head, reader, writer):
            with contextlib.suppress(ConnectionResetError):
                assert not await reader.read(1)
            ended.set()

        ended = asyncio.Event()
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = script
            client = await Client.open(port)
            client.send(GET)
            await until(lambda: rig.http.heads, "in work")
            client.close()
            await asyncio.wait_for(ended.wait(), 5)
            web = rig.proxies["web"]
            await until(lambda: not web.state.http.served, "gone")
            assert web.describe().edges[0].reasons == {"client-gone": 1}
            assert web.describe().edges[0].requests[0] == 1

    uvloop.run(run())


SMUGGLED = [
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\rhello0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("text", SMUGGLED)
def test_a_request_that_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_served(text, tmp_path):
    async def run():
        async with HttpRig(tmp_path, http_linger_s=0.1, http_look_s=0.05) as rig:
            port = await rig.pair_http()
            seen: list[RequestRecord] = []
            for proxy in rig.proxies.values():
                proxy.state.observers.add(seen.append)
            client = await Client.open(port)
            client.send(text + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            got = await client.answer()
            assert got.status in (400, 501)
            assert got.error == "bad-request"
            assert await client.ended() == b""
            assert not any(b"smuggled" in head for head in rig.http.heads)
            assert seen
            assert {(each.status, each.reason) for each in seen} == {(got.status, "bad-request")}
            client.close()

    uvloop.run(run())


def test_an_application_that_closes_at_once_is_no_server(tmp_path):
    async def run():
        async def slam(reader, writer):
            writer.close()

        async with HttpRig(tmp_path) as rig:
            server = await asyncio.start_server(slam, "127.0.0.1", 0)
            app = HttpApp()
            app.port = server.sockets[0].getsockname()[1]
            port = await rig.use("web", "api", [await rig.serve_http(app=app)], protocol="http")
            for method in ("GET", "POST"):
                got = await once(port, method=method)
                assert (got.status, got.error) in ((502, "upstream-reset"), (503, "application-unreachable"))
            server.close()

    uvloop.run(run())
