"""What the leaf of a root opened that is trusted no more ends with the trust; other changes of the roots end nothing."""

from __future__ import annotations

import asyncio

import msgspec
import uvloop

from chowk.core.records.ca import CARoots
from support.http_rig import Client, HttpRig
from support.mesh_rig import MeshCA, until
from support.proxy_rig import Rig


def publish(rig: Rig, service: str, roots: CARoots) -> None:
    rig.agent.publish(msgspec.structs.replace(rig.agent.snapshots[f"{service}-proxy"], roots=roots))


async def follows(rig: Rig, service: str, roots: CARoots) -> None:
    publish(rig, service, roots)
    await until(lambda: rig.proxies[service].state.snapshot.roots == roots, "the new roots")


def another(ca: MeshCA) -> CARoots:
    """Only another root, of the same trust domain."""
    made = MeshCA().roots
    return msgspec.structs.replace(made, trust_domain=ca.domain)


def rotated(ca: MeshCA) -> tuple[CARoots, CARoots]:
    """A second root signs and the first is told as rotated out; then that one is gone."""
    gone = another(ca)
    old = msgspec.structs.replace(ca.roots.roots[0], active=False, rotated_out_at="2026-01-01T00:00:00Z")
    return msgspec.structs.replace(gone, roots=(old, *gone.roots)), gone


async def opened(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello\n")
    assert await reader.readline() == b"app:hello\n"
    return reader, writer


async def cut(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(8):
            return not await reader.read(1)
    except ConnectionError:
        return True


def test_each_end_cuts_what_a_distrusted_root_proved(tmp_path):
    async def run():
        for side in ("api", "web"):
            folder = tmp_path / side
            folder.mkdir()
            async with Rig(folder) as rig:
                reader, writer = await opened(await rig.pair())
                await follows(rig, side, another(rig.ca))
                assert await cut(reader), side
                writer.close()

    uvloop.run(run())


def test_connections_that_speak_http_are_cut_too_at_work_or_idle(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            assert (await client.ask()).status == 200
            before = rig.proxies["api"].inbound.tally.open
            assert before
            await follows(rig, "api", another(rig.ca))
            await until(lambda: not rig.proxies["api"].inbound.tally.open, "cut")
            client.close()

    uvloop.run(run())


def test_a_root_that_has_rotated_out_takes_nothing_with_it(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            reader, writer = await opened(await rig.pair())
            for roots in rotated(rig.ca):
                await follows(rig, "api", roots)
                await follows(rig, "web", roots)
                writer.write(b"again\n")
                assert await reader.readline() == b"app:again\n"
            writer.close()

    uvloop.run(run())
