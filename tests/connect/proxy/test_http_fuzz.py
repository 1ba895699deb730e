"""Requests and answers broken at random, through a pair of proxies: nothing is raised, and nothing is left of them after."""

from __future__ import annotations

import asyncio
import random

import pytest
import uvloop

from support.http_corpus import cases
from support.http_rig import Client, HttpRig, once
from support.mesh_rig import until

ROUNDS, CLIENTS = 12, 25
PIECES = (
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\0",
    b";",
    b"%2f",
    b"0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nhello",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst",
)


def broken(rng: random.Random, pool: list[bytes]) -> bytes:
    """One of `pool` with up to four changes."""
    text = bytearray(rng.choice(pool))
    for _ in range(rng.randint(0, 4)):
        at, other = rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)
        match rng.randrange(6):
            case 0:
                text[at : at + 1] = bytes((rng.randrange(256),))
            case 1:
                del text[at : at + rng.randint(1, 8)]
            case 2:
                text[at:at] = rng.choice(PIECES)
            case 3:
                text[at:at] = text[other : other + rng.randint(1, 40)]
            case 4:
                text += rng.choice(pool)
            case 5:
                del text[at:]
    return bytes(text)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("what", ["requests", "responses"])
def test_whatever_is_sent_nothing_of_it_stays(what, seed, tmp_path):
    raised = []
    rng = random.Random(f"{what} {seed}")
    accepted = [case["bytes"] for case in cases("accepted").values()]
    refused = [case["bytes"] for case in cases(what).values() if len(case["bytes"]) < 5000]

    async def run():
        def note(_loop, context):
            if "client_connected_cb" not in context["message"]:  # of the application, which writes to whoever has gone
                raised.append(context)

        asyncio.get_running_loop().set_exception_handler(note)
        settings = {"http_head_s": 0.3, "http_body_s": 0.3, "http_linger_s": 0.1, "http_look_s": 0.05}
        async with HttpRig(tmp_path, **settings) as rig:
            port = await rig.pair_http()

            async def script(_head, _reader, writer):
                text = broken(rng, [*ANSWERS * 4, *refused])
                cut = rng.randrange(len(text) + 1)
                for piece in (text[:cut], text[cut:]):
                    writer.write(piece)
                    await writer.drain()
                if rng.random() < 0.5:
                    writer.close()

            async def client():
                one = await Client.open(port)
                text = broken(rng, accepted * 3 if what == "responses" else accepted + refused)
                cut = rng.randrange(len(text) + 1)
                for piece in (text[:cut], text[cut:]):
                    one.send(piece)
                    await asyncio.sleep(0)
                try:
                    async with asyncio.timeout(0.5 if rng.random() < 0.02 else 0.05):
                        await one.reader.read()
                except (OSError, TimeoutError):
                    """Whatever it got is what others check; here it goes."""
                one.close()

            rig.http.script = script if what == "responses" else None
            for _ in range(ROUNDS):
                await asyncio.gather(*(client() for _ in range(CLIENTS)))
            rig.http.script = None
            assert (await once(port)).status == 200
            web = rig.proxies["web"]
            await until(lambda: not web.state.http.served, "every connection is over")
            cluster = next(iter(web.upstreams.values())).clusters.all()[0]
            inside = (web.state.connections, cluster.breakers.requests, cluster.breakers.pending)
            assert [gate.inside for gate in inside] == [0, 0, 0]
            assert [host.active for host in cluster.balancer.hosts] == [0]
            assert sum(pool.open for pool in web.state.http.pools) == cluster.breakers.connections.inside

    uvloop.run(run())
    assert not raised
