"""Peers that are slow on purpose, and floods of tiny pieces: who is only slow gets everything, who never moves is ended."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket

import pytest
import uvloop

from chowk.connect.http1.framing import CHUNKED
from chowk.connect.proxy.http_client import INTERIMS_MAX
from chowk.connect.proxy.http_upload import KEPT_BYTES_MAX, KEPT_PIECES_MAX, upload_of
from chowk.connect.snapshot import HttpRoute
from chowk.core.records.traffic import HttpRedirect
from support.http_rig import Client, HttpRig, once
from support.mesh_rig import until

ANSWER_BYTES = 12_000_000
"""More than the buffers of the kernel and of both proxies hold."""


async def sized(head, reader, writer):
    """An application that answers with as many bytes as the path says, whatever of the request has come."""
    left = int(re.search(rb"/([0-9]+)", head)[1])
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
    while left:
        writer.write(b"a" * min(left, 60_000))
        left -= min(left, 60_000)
        await writer.drain()


async def narrow(port, text):
    """A client whose kernel takes little before it reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    await loop.sock_sendall(sock, text)
    return sock


async def taken(sock, most):
    got = 0
    while got < most:
        data = await asyncio.get_running_loop().sock_recv(sock, 65536)
        if not data:
            break
        got += len(data)
    return got


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nnot all",
    ],
    ids=["the last answer", "an answer before the body came"],
)
def test_a_client_that_rests_before_it_takes_the_end_of_its_answer_gets_all_of_it(request_head, tmp_path):
    async def run():
        async with HttpRig(tmp_path, http_linger_s=0.1, http_look_s=0.02) as rig:
            port = await rig.pair_http()
            rig.http.script = sized
            sock = await narrow(port, request_head % ANSWER_BYTES)
            web = rig.proxies["web"].state
            got = await taken(sock, ANSWER_BYTES - 300_000)
            deadline = web.clock.now() + 1.0
            await until(lambda: web.clock.now() > deadline, "the time to linger is over, ten times")
            got += await taken(sock, ANSWER_BYTES)
            assert got > ANSWER_BYTES
            sock.close()
            await until(lambda: not web.http.served, "and its connection ended")

    uvloop.run(run())


def test_clients_that_never_take_the_end_of_their_last_answer_are_ended(tmp_path):
    async def run():
        async with HttpRig(tmp_path, http_linger_s=0.1, http_stall_s=0.5, http_look_s=0.05) as rig:
            port = await rig.pair_http()
            rig.http.script = sized
            text = b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            clients = [await narrow(port, text % size) for size in range(100_000, 3_500_000, 100_000)]
            await until(lambda: len(rig.http.heads) == len(clients), "all asked")
            web = rig.proxies["web"]
            await until(lambda: not web.state.http.served, "none holds a connection for ever", 8)
            assert web.state.connections.inside == 0
            assert (await once(port, "/1")).status == 200
            for client in clients:
                client.close()

    uvloop.run(run())


def test_a_flood_of_interim_answers_is_no_answer(tmp_path):
    async def run():
        async def flood(head, reader, writer):
            with contextlib.suppress(OSError):
                while True:
                    writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
                    await writer.drain()

        async def many(head, reader, writer):
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * INTERIMS_MAX + b"HTTP/1.1 204 No Content\r\n\r\n")

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            for script, status in ((many, 204), (many, 204), (flood, 502)):
                rig.http.script = script
                client = await Client.open(port)
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                seen = 0
                while (got := await client.answer()).status == 102:
                    seen += 1
                assert (got.status, seen) == (status, INTERIMS_MAX)
                client.close()
            assert rig.proxies["api"].describe().edges[0].reasons == {"bad-response": 1}

    uvloop.run(run())


def test_a_body_of_tiny_chunks_is_kept_in_few_pieces():
    upload = upload_of(CHUNKED)
    times = KEPT_BYTES_MAX // 4 - 1
    for _ in range(times):
        spans, _rest = upload.feed(b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n")
        upload.passed(spans)
    pieces = upload.copied()
    assert len(pieces) <= KEPT_PIECES_MAX + 2
    assert b"".join(map(bytes, pieces)) == b"%x\r\n" % (4 * times) + b"abcd" * times + b"\r\n"


def test_an_application_that_answers_and_closes_before_it_has_read_all_is_heard(tmp_path):
    async def run():
        async def early(head, reader, writer):
            writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
            writer.close()

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = early
            for size in (100_000, 3_000_000):
                client = await Client.open(port)
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * size) + b"a" * size)
                got = await client.answer()
                assert (got.status, got.body) == (413, b"big")
                client.close()

    uvloop.run(run())


def test_a_request_at_every_limit_is_not_refused_by_the_second_proxy_for_what_the_first_added(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            client = await Client.open(port)
            begin = b"GET /" + b"t" * 8191 + b" HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 98 + b"X-B: "
            client.send(begin + b"p" * (65536 - len(begin) - 4) + b"\r\n\r\n")
            assert (await client.answer()).status == 200
            client.close()

    uvloop.run(run())


def test_answers_of_the_proxy_itself_do_not_pile_up_for_who_asks_and_never_reads(tmp_path):
    async def run():
        async with HttpRig(tmp_path, http_stall_s=0.5, http_look_s=0.05) as rig:
            routes = (HttpRoute(name="r", redirect=HttpRedirect(path="/elsewhere")),)
            port = await rig.routed(routes, {"api": []})
            web = rig.proxies["web"].state
            sock = await narrow(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            loop, many = asyncio.get_running_loop(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
            most = 0
            with contextlib.suppress(ConnectionError):
                for _ in range(2000):
                    await loop.sock_sendall(sock, many)
                    most = max([most, *(each.wire.transport.get_write_buffer_size() for each in web.http.served)])
            assert most < 4_000_000
            assert not web.http.served
            sock.close()

    uvloop.run(run())


def test_who_asks_often_and_takes_its_answers_later_gets_them_all_in_order(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            routes = (HttpRoute(name="r", redirect=HttpRedirect(prefix_rewrite="/to/")),)
            client = await Client.open(await rig.routed(routes, {"api": []}))
            count = 30_000
            asking = asyncio.ensure_future(_ask_all(client, count))
            await until(lambda: rig.proxies["web"].state.http.served, "begun")
            for number in range(count):
                assert (await client.answer()).header("location") == f"/to/{number}"
            await asking
            client.close()

    uvloop.run(run())


async def _ask_all(client, count):
    for first in range(0, count, 1000):
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % each for each in range(first, first + 1000)))
        await client.writer.drain()


def test_work_for_a_client_that_asked_twice_and_went_away_is_stopped(tmp_path):
    async def run():
        async def silence(head, reader, writer):
            await reader.read()
            writer.close()

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = silence
            client = await Client.open(port)
            client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: rig.http.heads, "in work")
            client.close()
            await until(lambda: not rig.proxies["web"].state.http.served, "gone")
            await until(lambda: not rig.http._writers, "and the application was told")

    uvloop.run(run())
