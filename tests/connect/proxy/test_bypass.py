"""Break glass between two proxies: what it lets through, what it never does, and that it ends."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
import uvloop

from chowk.connect.proxy.proxy import LAPSE_LOOK_S
from chowk.connect.snapshot import Bypass, ProxySnapshot
from chowk.core.records.intention import Intention
from support.mesh_rig import MeshCA, until
from support.proxy_rig import Rig, refused, talk

DENIAL = Intention(source_name="web", destination_name="api", action="deny", precedence=9)


def with_bypass(snapshot: ProxySnapshot, service: str = "api", lasts_s: float = 600.0) -> ProxySnapshot:
    bypass = Bypass(service=service, expires_s=time.time() + lasts_s, reason="INC-42", by="ops")
    return msgspec.structs.replace(snapshot, bypasses=(bypass,))


async def publish(rig: Rig, *proxies: str, service: str = "api", lasts_s: float = 600.0) -> None:
    for proxy in proxies:
        rig.agent.publish(with_bypass(rig.agent.snapshots[f"{proxy}-proxy"], service, lasts_s))
    await until(lambda: all(rig.proxies[each].state.snapshot.bypasses for each in proxies), "the bypass is told")


async def expired(rig: Rig) -> int:
    """A pair whose leaves have ended, and nobody signs."""
    port = await rig.pair()
    rig.agent.signs = False
    for proxy in rig.proxies.values():
        state = proxy.state
        await until(lambda state=state: not state.credentials.valid(state.clock.wall()), "the leaf ends")
    assert await refused(port)
    return port


def test_certificates_that_have_ended_serve_in_a_bypass_and_fresh_ones_after_it(tmp_path):
    async def run():
        async with Rig(tmp_path, MeshCA(ttl_s=1.0)) as rig:
            port = await expired(rig)
            await publish(rig, "web")
            assert await refused(port), "the other side has not been told"
            await publish(rig, "api")
            assert await talk(port) == b"app:hello\nend"
            await publish(rig, "web", "api", service="other")
            assert await refused(port), "the bypass was taken back"

    uvloop.run(run())


def test_a_bypass_opens_no_door_to_who_is_not_of_the_mesh(tmp_path):
    async def run():
        async with Rig(tmp_path, MeshCA(ttl_s=1.0)) as rig:
            port = await expired(rig)
            await publish(rig, "web", "api")
            stranger = MeshCA()
            for proxy in ("web", "api"):
                rig.agent.publish(msgspec.structs.replace(rig.agent.snapshots[f"{proxy}-proxy"], roots=stranger.roots))
            await until(
                lambda: all(p.state.snapshot.roots == stranger.roots for p in rig.proxies.values()), "other roots"
            )
            await until(lambda: rig.proxies["api"]._leaf._roots == stranger.roots, "are trusted alone")
            assert await refused(port)

    uvloop.run(run())


def test_what_intentions_deny_passes_in_a_bypass_counted_and_is_cut_when_it_lapses(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            denied = msgspec.structs.replace(rig.agent.snapshots["api-proxy"], intentions=(DENIAL,))
            rig.agent.publish(denied)
            await until(lambda: rig.proxies["api"].state.snapshot.intentions, "denied")
            assert await refused(port)
            await publish(rig, "api", lasts_s=1.5)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"one\n")
            assert await reader.readexactly(8) == b"app:one\n"
            (peer,) = rig.proxies["api"].state.edges.peer_totals()
            assert (peer.denied, peer.permitted) == (1, 1)
            with pytest.raises(ConnectionResetError):
                async with asyncio.timeout(1.5 + LAPSE_LOOK_S + 5):
                    await reader.read()
            assert await refused(port)
            writer.close()

    uvloop.run(run())
