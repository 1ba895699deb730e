"""A live cluster against what it must outlive: garbage, floods, recorded packets, a process that stood still."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import cast

import pytest

from chowk.agent.gossip.driver import Gossip
from chowk.agent.gossip.loop import INBOX_MAX
from chowk.agent.gossip.sealed import DATAGRAM, Sealer
from chowk.core.records.member import ALIVE, FAILED
from chowk.core.runtime.clock import SystemClock
from support.gossip_cluster import KEY, address, make, run, running, status, until


class JumpingClock(SystemClock):
    """Monotonic time that can jump ahead, as it does for a process that was stopped."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


def place(gossip: Gossip) -> tuple[str, int]:
    return ("127.0.0.1", gossip.port)


async def probes(gossip: Gossip, count: int = 200) -> None:
    """Wait until it received so many more packets."""
    wanted = int(gossip.stats()["packets_received"]) + count
    async with asyncio.timeout(15):
        while int(gossip.stats()["packets_received"]) < wanted:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("keys", [(KEY,), ()], ids=["encrypted", "plain"])
def test_a_flood_of_garbage_disturbs_nobody(keys: tuple[bytes, ...]) -> None:
    async def body() -> None:
        one, two, three = (make(name, keys=keys) for name in ("n1", "n2", "n3"))
        rng = random.Random(11)
        sealer = Sealer("dc1", keys)
        async with running(one, two, three):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rogue:
                for _ in range(60):
                    for _ in range(25):
                        rogue.sendto(rng.randbytes(rng.randrange(1, 1400)), place(one))
                        # Of a member gone mad: it has the key, and says nothing that makes sense.
                        rogue.sendto(sealer.seal(rng.randbytes(rng.randrange(1, 200)), DATAGRAM), place(one))
                    await asyncio.sleep(0)
                rogue.sendto(bytes(65_507), place(one))
            for _ in range(20):
                _reader, writer = await asyncio.open_connection(*place(one))
                writer.write(rng.randbytes(500))
                writer.close()
            await probes(one)
            assert {each.status for each in (*one.members(), *two.members())} == {ALIVE}
            assert len(one.members()) == 3
            assert await two.fire("still-here", b"") is not None
            stats = one.stats()
            assert int(stats["malformed_packets"]) > 100
            assert int(stats["packets_not_read"]) <= INBOX_MAX

    run(body)


class Eavesdropper(asyncio.DatagramProtocol):
    """Stands where a member says it is reached, passes on what the others send it, and keeps a copy."""

    def __init__(self) -> None:
        self.copies: list[bytes] = []
        self.target = ("127.0.0.1", 0)
        self.asker = ("127.0.0.1", 0)
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        if addr == self.target:
            self.transport.sendto(data, self.asker)
            return
        self.asker = addr
        self.copies.append(data)
        self.transport.sendto(data, self.target)


def test_recorded_packets_change_nothing_when_they_are_sent_again() -> None:
    async def body() -> None:
        ear = Eavesdropper()
        wire, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: ear, local_addr=("127.0.0.1", 0))
        one, two = make("n1", advertise_port=wire.get_extra_info("sockname")[1]), make("n2")
        async with running(one, joined=False):
            ear.target = place(one)
            async with running(two, joined=False):
                await two.join([f"127.0.0.1:{one.port}"])
                await until(one, lambda: status(one, "n2") == ALIVE)
                index = one.events.index()
                await two.fire("deploy", b"1")
                await one.events.wait(index, 10)
                await probes(one, 20)
            await until(one, lambda: status(one, "n2") == FAILED)
            copies = list(ear.copies)
            assert len(copies) >= 10
            before = int(one.stats()["packets_received"])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rogue:
                for packet in copies:
                    rogue.sendto(packet, place(one))
            await probes(one, before + len(copies) - int(one.stats()["packets_received"]))
            await one.fire("after", b"")
            while not one.events.list("after"):
                await one.events.wait(one.events.index("after"), 5, "after")
            assert status(one, "n2") == FAILED
            assert [each.name for each in one.events.list()] == ["deploy", "after"]
            assert not any(name.startswith("refused_") for name in one.stats())
        wire.close()

    run(body)


def test_an_agent_that_stood_still_does_not_condemn_the_others() -> None:
    async def body() -> None:
        clock = JumpingClock()
        one, two, three = make("n1", clock=clock), make("n2"), make("n3")
        seen: list[str] = []
        async with running(one, two, three):
            one.changed.add(lambda _: seen.extend(each.status for each in one.members()))
            for _ in range(5):
                clock.ahead_s += 60
                await probes(one, 30)
            assert FAILED not in seen
            assert [each.status for each in one.members()] == [ALIVE] * 3
            assert int(one.stats()["stalls"]) >= 5

    run(body)


def test_a_flood_of_connections_does_not_keep_a_new_member_out() -> None:
    async def body() -> None:
        one = make("n1")
        async with running(one):
            held = [await asyncio.open_connection(*place(one)) for _ in range(200)]
            two = make("n2", start_join=(address(one),))
            async with running(two, joined=False):
                await until(one, lambda: status(one, "n2") == ALIVE)
            assert int(one.stats()["refused_pushed_out"]) > 100
            for _reader, writer in held:
                writer.close()

    run(body)
