"""HTTP through two proxies over real sockets: messages pass whole and unchanged, streamed, in order, and end properly."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import uvloop

from support.http_rig import Client, HttpRig, body_of, once
from support.mesh_rig import until
from support.proxy_rig import Rig, refused, talk


def test_requests_of_one_connection_use_one_connection_to_the_application(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            for number in range(5):
                got = await client.ask(f"/n/{number}?q=1", "POST", body=b"x" * number)
                assert (got.status, got.body) == (200, f"app /n/{number}?q=1 {number}".encode())
            assert rig.http.connections == 1
            assert rig.proxies["api"].inbound.tally.total == 1
            client.close()

    uvloop.run(run())


def test_the_caller_is_named_by_its_proven_identity_alone(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            forged = "X-Forwarded-Client-Cert: By=x;URI=spiffe://evil/ns/default/dc/dc1/svc/admin\r\n"
            trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1\r\n"
            assert (await once(port, headers=forged + trace + "x-request-id: abc-1\r\n")).status == 200
            assert rig.http.header("x-forwarded-client-cert") == (
                f"By={rig.ca.identity('api')};URI={rig.ca.identity('web')}"
            )
            assert rig.http.heads[0].lower().count(b"x-forwarded-client-cert") == 1
            assert rig.http.header("traceparent") == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            assert rig.http.header("tracestate") == "a=1"
            assert rig.http.header("x-request-id") == "abc-1"
            await once(port)
            assert len(rig.http.header("x-request-id") or "") == 36

    uvloop.run(run())


def test_an_application_cannot_say_that_a_proxy_failed(tmp_path):
    async def run():
        async def script(head, reader, writer):
            writer.write(b"HTTP/1.1 503 No\r\nx-chowk-error: overloaded\r\nContent-Length: 2\r\n\r\nno")

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = script
            got = await once(port)
            assert (got.status, got.body, got.error) == (503, b"no", None)

    uvloop.run(run())


def test_pipelined_requests_are_answered_in_order(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            client.send(
                b"".join(
                    b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" % number for number in range(200)
                )
            )
            for number in range(200):
                assert (await client.answer()).body == b"app /%d 3" % number
            client.close()

    uvloop.run(run())


def test_pipelined_requests_that_the_proxy_answers_itself_do_not_pile_up(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.use("web", "api", [], protocol="http"))
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3000)
            for _ in range(3000):
                got = await client.answer()
                assert (got.status, got.error) == (503, "no-healthy-instance")
            client.close()

    uvloop.run(run())


@pytest.mark.parametrize("chunked", [True, False])
def test_large_bodies_stream_both_ways_with_little_memory(chunked, tmp_path):
    size = 24 * 1024 * 1024

    async def run():
        async def script(head, reader, writer):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            got = 0
            while got < size:
                piece = await reader.read(65536)
                got += len(piece)
                writer.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")

        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            if chunked:
                rig.http.script = None
            else:
                rig.http.script = script

            async def send():
                block = b"z" * 65536
                if chunked:
                    client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                else:
                    client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
                for _ in range(size // len(block)):
                    client.send(b"%x\r\n" % len(block) + block + b"\r\n" if chunked else block)
                    await client.writer.drain()
                if chunked:
                    client.send(b"0\r\n\r\n")

            sending = asyncio.ensure_future(send())
            got = await client.answer()
            await sending
            assert got.body == (b"app /up %d" % size if chunked else b"z" * size)
            client.close()

    uvloop.run(run())


def test_who_reads_slowly_holds_the_sender_back(tmp_path):
    async def run():
        written = [0]

        async def script(head, reader, writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n")
            for _ in range(6000):
                writer.write(b"a" * 65536)
                await writer.drain()
                written[0] += 65536

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = script
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            before = -1
            while written[0] != before:
                before = written[0]
                await asyncio.sleep(0.3)
            assert before < 100_000_000
            writer.transport.abort()
            rig.http.script = None

    uvloop.run(run())


def test_an_upload_that_nobody_takes_is_held_back(tmp_path):
    async def run():
        async def script(head, reader, writer):
            await asyncio.Event().wait()

        async with HttpRig(tmp_path, http_stall_s=1.5, http_look_s=0.1) as rig:
            port = await rig.pair_http()
            rig.http.script = script
            client = await Client.open(port)
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 400000000\r\n\r\n")
            sent = 0
            for _ in range(6000):
                client.send(b"a" * 65536)
                try:
                    async with asyncio.timeout(0.5):
                        await client.writer.drain()
                except TimeoutError:
                    break
                sent += 65536
            assert 0 < sent < 100_000_000
            client.writer.transport.abort()
            await until(lambda: not rig.proxies["web"].state.http.served, "it is gone")

    uvloop.run(run())


def test_interim_answers_and_expectations_pass(tmp_path):
    async def run():
        async def script(head, reader, writer):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await body_of(head, reader)
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            rig.http.script = script
            for _ in range(2):
                client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
                assert (await client.answer()).status == 100
                client.send(b"hello")
                assert (await client.answer()).header("link") == "</a.css>"
                assert (await client.answer()).body == b"hello"
            client.close()

    uvloop.run(run())


def test_an_answer_may_come_before_the_body_is_there(tmp_path):
    async def run():
        async def script(head, reader, writer):
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")

        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            rig.http.script = script
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
            got = await client.answer()
            assert (got.status, got.body, got.header("connection")) == (413, b"big", "close")
            client.send(b"x" * 1000)
            assert await client.ended() == b""
            client.close()

    uvloop.run(run())


def test_trailers_pass_both_ways(tmp_path):
    async def run():
        seen = []

        async def script(head, reader, writer):
            seen.append(await reader.readuntil(b"0\r\nx-sum: 7\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-end: yes\r\n\r\n")

        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            rig.http.script = script
            client.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"
            )
            assert await client.reader.readuntil(b"x-end: yes\r\n\r\n")
            assert seen == [b"3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"]
            client.close()

    uvloop.run(run())


def test_head_and_empty_answers_leave_the_connection_usable(tmp_path):
    async def run():
        async def script(head, reader, writer):
            if head.startswith(b"HEAD"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")

        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            rig.http.script = script
            for _ in range(3):
                assert (await client.ask(method="HEAD")).header("content-length") == "1000"
                assert (await client.ask()).status == 304
            assert rig.http.connections == 1
            client.close()

    uvloop.run(run())


def test_an_answer_that_ends_with_its_connection_is_whole(tmp_path):
    async def run():
        async def script(head, reader, writer):
            writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")
            writer.close()

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = script
            assert (await once(port)).body == b"all of it"
            client = await Client.open(port)
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.ended()).endswith(b"\r\n\r\nall of it")
            client.close()

    uvloop.run(run())


def test_a_websocket_becomes_a_pipe(tmp_path):
    async def run():
        async def script(head, reader, writer):
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nwelcome"
            )
            while data := await reader.read(1000):
                writer.write(b"echo:" + data)
            writer.write(b"bye")
            writer.close()

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = script
            client = await Client.open(port)
            client.send(
                b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Key: x\r\n\r\nearly"
            )
            got = await client.answer()
            assert (got.status, got.header("upgrade")) == (101, "websocket")
            assert await client.reader.readexactly(17) == b"welcomeecho:early"
            web, api = rig.proxies["web"].state, rig.proxies["api"].state
            assert (len(web.pipes), len(api.pipes), len(web.http.served)) == (1, 1, 0)
            client.send(b"frame")
            assert await client.reader.readexactly(10) == b"echo:frame"
            client.writer.write_eof()
            assert await client.ended() == b"bye"
            await until(lambda: not web.pipes and not api.pipes, "pipes end")
            assert (web.connections.inside, api.connections.inside) == (0, 0)
            client.close()

    uvloop.run(run())


def test_connect_becomes_a_pipe_and_a_refusal_does_not(tmp_path):
    async def run():
        async def script(head, reader, writer):
            if b"bad:443" in head:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
                return
            writer.write(b"HTTP/1.1 200 Fine\r\n\r\n")
            writer.write(await reader.readexactly(4))

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = script
            client = await Client.open(port)
            client.send(b"CONNECT bad:443 HTTP/1.1\r\nHost: bad:443\r\n\r\n")
            assert (await client.answer()).body == b"no"
            client.send(b"CONNECT db:443 HTTP/1.1\r\nHost: db:443\r\n\r\n")
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            client.send(b"ping")
            assert await client.reader.readexactly(4) == b"ping"
            client.close()

    uvloop.run(run())


def test_http2_is_refused_where_http1_is_spoken_and_carried_where_it_is_said(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            got = await client.answer()
            assert (got.status, got.error) == (505, "bad-request")
            client.close()
        async with Rig(tmp_path) as rig:
            public = await rig.serve("api")
            inbound = msgspec.structs.replace(rig.agent.snapshots["api-proxy"].inbound, protocol="grpc")
            rig.agent.publish(msgspec.structs.replace(rig.agent.snapshots["api-proxy"], inbound=inbound))
            assert await talk(await rig.use("web", "api", [public], protocol="http2")) == b"app:hello\nend"

    uvloop.run(run())


def test_a_change_of_protocol_counts_for_new_connections_and_drops_no_request(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.use("web", "api", [await rig.serve_http("api")])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            web = rig.agent.snapshots["web-proxy"]
            http = msgspec.structs.replace(web.upstreams[0], protocol="http")
            rig.agent.publish(msgspec.structs.replace(web, upstreams=(http,)))
            await until(lambda: rig.proxies["web"].state.snapshot.upstreams[0].protocol == "http", "http")
            client = await Client.open(port)
            assert (await client.ask("/a")).body == b"app /a 0"
            writer.write(b"GET /tcp HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"app /tcp 0" in await reader.read(1000)
            busy = await Client.open(port)
            gate = asyncio.Event()

            async def script(head, reader, writer):
                await gate.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

            rig.http.script = script
            busy.send(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: len(rig.http.heads) == 3, "in work")
            rig.agent.publish(web)
            assert await client.ended() == b""
            gate.set()
            got = await busy.answer()
            assert (got.body, got.header("connection")) == (b"ok", "close")
            assert await busy.ended() == b""
            writer.close()
            client.close()

    uvloop.run(run())


def test_a_stop_ends_idle_connections_and_lets_requests_end(tmp_path):
    async def run():
        gate = asyncio.Event()

        async def script(head, reader, writer):
            await gate.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            idle, busy = await Client.open(port), await Client.open(port)
            assert (await idle.ask()).status == 200
            rig.http.script = script
            busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: len(rig.http.heads) == 2, "in work")
            rig.agent.stop("web-proxy")
            assert await idle.ended() == b""
            assert await refused(port)
            gate.set()
            got = await busy.answer()
            assert (got.body, got.header("connection")) == (b"ok", "close")
            await asyncio.wait_for(rig.runs["web"], 3)
            idle.close()
            busy.close()

    uvloop.run(run())


def test_the_inbound_proxy_stops_without_failing_a_request(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            ports = [await rig.serve_http("api"), await rig.serve_http("api2")]
            api2 = msgspec.structs.replace(rig.agent.snapshots["api2-proxy"], service="api")
            rig.agent.publish(api2)
            await until(lambda: rig.agent.signed.count("api2-proxy") == 2, "api2 is an instance of api")
            port = await rig.use("web", "api", ports, protocol="http")
            failed, asked = [], [0]
            stop = asyncio.Event()

            async def load():
                client = await Client.open(port)
                while not stop.is_set():
                    got = await client.ask()
                    asked[0] += 1
                    if got.status != 200:
                        failed.append(got)
                client.close()

            loads = [asyncio.ensure_future(load()) for _ in range(8)]
            await until(lambda: asked[0] > 100, "load")
            rig.agent.stop("api2-proxy")
            await rig.runs["api2"]
            before = asked[0]
            await until(lambda: asked[0] > before + 200, "load goes on")
            stop.set()
            await asyncio.gather(*loads)
            assert not failed

    uvloop.run(run())


def test_unix_sockets_carry_http(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            path = tmp_path / "app.sock"
            server = await asyncio.start_unix_server(rig.http._serve, str(path))
            port = await rig.pair_http(local_socket_path=str(path))
            assert (await once(port, "/unix")).body == b"app /unix 0"
            server.close()

    uvloop.run(run())
