"""What a bypass let in although its certificates had ended is cut when it lapses, by each end by itself; nothing else is."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
import uvloop

from chowk.connect.proxy.proxy import LAPSE_LOOK_S
from chowk.connect.snapshot import Bypass
from support.http_rig import Client, HttpRig
from support.mesh_rig import MeshCA, until
from support.proxy_rig import Rig, refused

LONG_S, SHORT_S = 600.0, 1.0
CUT_S = SHORT_S + LAPSE_LOOK_S + 5


async def all_ended(rig: Rig) -> None:
    """The leaves of all proxies have ended, and nobody signs."""
    rig.agent.signs = False
    for proxy in rig.proxies.values():
        state = proxy.state
        await until(lambda state=state: not state.credentials.valid(state.clock.wall()), "the leaf ends")


async def tell_bypass(rig: Rig, **lasts_s: float) -> None:
    for proxy, lasts in lasts_s.items():
        bypass = Bypass(service="api", expires_s=time.time() + lasts, reason="INC-42", by="ops")
        snapshot = rig.agent.snapshots[f"{proxy}-proxy"]
        rig.agent.publish(msgspec.structs.replace(snapshot, bypasses=(bypass,)))
    await until(lambda: all(rig.proxies[each].state.snapshot.bypasses for each in lasts_s), "the bypass is told")


async def opened(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await echoed(reader, writer)
    return reader, writer


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"x\n")
    assert await reader.readexactly(6) == b"app:x\n"


@pytest.mark.parametrize("short", ["web", "api"])
def test_each_end_alone_cuts_a_connection_of_ended_certificates_when_its_bypass_lapses(short, tmp_path):
    async def run():
        async with Rig(tmp_path, MeshCA(ttl_s=1.0)) as rig:
            port = await rig.pair()
            await all_ended(rig)
            await tell_bypass(rig, **({"web": LONG_S, "api": LONG_S} | {short: SHORT_S}))
            reader, writer = await opened(port)
            with pytest.raises(ConnectionResetError):
                async with asyncio.timeout(CUT_S):
                    await reader.read()
            assert rig.proxies[short].state.outdated.end(lambda _service: False) == 0, "nothing is kept"
            writer.close()

    uvloop.run(run())


def test_a_bypass_that_is_taken_back_cuts_at_once(tmp_path):
    async def run():
        async with Rig(tmp_path, MeshCA(ttl_s=1.0)) as rig:
            port = await rig.pair()
            await all_ended(rig)
            await tell_bypass(rig, web=LONG_S, api=LONG_S)
            reader, writer = await opened(port)
            rig.agent.publish(msgspec.structs.replace(rig.agent.snapshots["web-proxy"], bypasses=()))
            with pytest.raises(ConnectionResetError):
                async with asyncio.timeout(LAPSE_LOOK_S):
                    await reader.read()
            writer.close()

    uvloop.run(run())


def test_what_was_open_before_and_what_needed_no_bypass_outlives_it(tmp_path):
    async def run():
        async with Rig(tmp_path, MeshCA(ttl_s=2.0)) as rig:
            port = await rig.pair()
            before = await opened(port)
            await tell_bypass(rig, web=LONG_S, api=LONG_S)
            good = await opened(port)
            await all_ended(rig)
            ended = await opened(port)
            await tell_bypass(rig, web=0.0, api=0.0)
            with pytest.raises(ConnectionResetError):
                async with asyncio.timeout(CUT_S):
                    await ended[0].read()
            assert await refused(port)
            for reader, writer in (before, good):
                await echoed(reader, writer)
                writer.close()

    uvloop.run(run())


def test_requests_in_work_by_ended_certificates_are_cut_too(tmp_path):
    async def run():
        async def endless(head, reader, writer):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"1\r\nx\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)

        async with HttpRig(tmp_path, MeshCA(ttl_s=1.0)) as rig:
            port = await rig.pair_http()
            await all_ended(rig)
            await tell_bypass(rig, web=SHORT_S, api=LONG_S)
            rig.http.script = endless
            client = await Client.open(port)
            client.send(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n")
            with pytest.raises((OSError, EOFError)):
                async with asyncio.timeout(CUT_S):
                    await client.answer()
            assert not rig.proxies["web"].state.outdated.end(lambda _service: False)
            client.close()

    uvloop.run(run())
