"""The servers' client with several servers: whoever dies, freezes or cannot lead is left for another, and load spreads."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chowk.agent.client.link import DRAIN_S, REBALANCE_S, STAGGER_S
from chowk.agent.client.pool import TROUBLE_S, ServerClient
from chowk.core import errors
from chowk.core.commands import Deregister
from chowk.core.events import StreamFrame, Topic
from chowk.core.requests import (
    CATALOG_NODES,
    CATALOG_WRITE,
    STATUS_LEADER,
    Empty,
    LeaderReply,
    NodesReply,
    QueryMeta,
    Read,
    WriteReply,
)
from chowk.core.runtime.clock import ManualClock, SystemClock
from chowk.core.runtime.rpc import connection as rpc_connection
from chowk.core.runtime.rpc.endpoints import AGENT, SERVER
from chowk.core.runtime.rpc.identity import ClusterIdentity
from support.fake_server import FakeServer, until

TOPIC = Topic(kind="nodes")
KEY = base64.b64encode(b"k" * 32).decode()


class Cable:
    """Stands between a client and a server; while `frozen`, it takes everything and passes on nothing."""

    def __init__(self) -> None:
        self.frozen = False
        self.address = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, target: str) -> None:
        host, port = target.split(":")

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there, back = await asyncio.open_connection(host, int(port))
            except OSError:
                writer.close()
                return
            for source, sink in ((reader, back), (there, writer)):
                task = asyncio.ensure_future(self._pass(source, sink))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        self._server = await asyncio.start_server(relay, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await until(lambda: not self.frozen, 30)
                sink.write(data)
        except (OSError, TimeoutError):
            pass
        finally:
            sink.close()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()


@asynccontextmanager
async def three_servers() -> AsyncIterator[list[FakeServer]]:
    servers = [FakeServer() for _ in range(3)]
    for number, server in enumerate(servers):
        server.answer(STATUS_LEADER, LeaderReply(leader=str(number)))
        server.answer(CATALOG_NODES, NodesReply(meta=QueryMeta(index=number), nodes=()))
        await server.start()
    try:
        yield servers
    finally:
        for server in servers:
            await server.close()


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await scene()

    asyncio.run(main())


async def who(client: ServerClient) -> int:
    return int((await client.call(STATUS_LEADER, Empty())).leader)


def test_a_server_that_dies_is_replaced_and_calls_do_not_notice() -> None:
    async def scene() -> None:
        async with three_servers() as servers:
            client = ServerClient(None, rng=random.Random(1))
            client.set_servers(tuple(server.address for server in servers))
            await client.start()
            seen = [await who(client)]
            for _ in range(2):
                await servers[seen[-1]].close()
                seen.append(await who(client))
            assert sorted(seen) == [0, 1, 2]
            await client.close()

    play(scene)


def test_a_frozen_server_is_left_within_a_second() -> None:
    assert rpc_connection.TICK_S * (rpc_connection.SILENT_TICKS_MAX + 1) + STAGGER_S <= 1.0

    async def scene() -> None:
        async with three_servers() as servers:
            cable = Cable()
            await cable.start(servers[0].address)
            client = ServerClient(None, rng=random.Random(1))
            client.set_servers((cable.address,))
            await client.start()
            assert await who(client) == 0
            client.set_servers((cable.address, servers[1].address))
            cable.frozen = True
            assert await who(client) == 1
            frames = client.subscribe(TOPIC)
            assert (await anext(frames)).reset
            await frames.aclose()  # type: ignore[attr-defined]
            await client.close()
            cable.frozen = False
            await cable.close()

    play(scene)


def test_a_server_that_is_frozen_when_it_is_dialled_delays_nobody() -> None:
    async def scene() -> None:
        async with three_servers() as servers:
            cable = Cable()
            await cable.start(servers[0].address)
            cable.frozen = True
            client = ServerClient(None, rng=random.Random(1))
            client.set_servers((cable.address,))
            await client.start()
            client.set_servers((cable.address, servers[2].address))
            assert await who(client) == 2
            await client.close()
            await cable.close()

    play(scene)


def test_the_own_server_is_preferred_left_while_it_is_down_and_taken_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with three_servers() as servers:
            clock = ManualClock()
            path = tmp_path / "server.sock"
            own = FakeServer(path)
            own.answer(STATUS_LEADER, LeaderReply(leader="9"))
            await own.start()
            client = ServerClient(path, clock, random.Random(1))
            client.set_servers((servers[1].address,))
            await client.start()
            assert await who(client) == 9
            await own.close()
            assert await who(client) == 1
            again = FakeServer(path)
            again.answer(STATUS_LEADER, LeaderReply(leader="10"))
            await again.start()
            assert await who(client) == 1
            while await who(client) == 1:
                await clock.advance(0.5)
            assert await who(client) == 10
            await client.close()
            await again.close()

    play(scene)


def test_a_write_outlives_its_server_and_goes_to_the_next_as_the_same_write() -> None:
    async def scene() -> None:
        async with three_servers() as servers:
            asked = asyncio.Event()

            async def never(_request: object) -> None:
                asked.set()
                await asyncio.Event().wait()

            servers[0].answer(CATALOG_WRITE, never)
            servers[1].answer(CATALOG_WRITE, WriteReply(index=9))
            client = ServerClient(None, rng=random.Random(1))
            client.set_servers((servers[0].address,))
            await client.start()
            writing = asyncio.ensure_future(client.call(CATALOG_WRITE, client.next_write(Deregister(node="n"))))
            await asked.wait()
            client.set_servers((servers[0].address, servers[1].address))
            await servers[0].close()
            assert (await writing).index == 9
            assert servers[0].calls[-1] == servers[1].calls[-1]
            await client.close()

    play(scene)


def test_a_server_without_a_leader_for_long_is_left_for_one_that_has_one() -> None:
    async def scene() -> None:
        async with three_servers() as servers:
            clock = ManualClock()
            servers[0].answer(CATALOG_NODES, lambda _request: errors.NoLeader())
            client = ServerClient(None, clock, random.Random(1))
            client.set_servers((servers[0].address,))
            await client.start()
            assert await who(client) == 0
            client.set_servers((servers[0].address, servers[1].address))
            reading = asyncio.ensure_future(client.call(CATALOG_NODES, Read()))
            spent_s = 0.0
            while not reading.done():
                assert spent_s < 7.0
                await clock.advance(0.1)
                spent_s += 0.1
                await asyncio.sleep(0.002)
                if spent_s < TROUBLE_S - 0.2:
                    assert await who(client) == 0
            assert (await reading).meta.index == 1
            assert spent_s >= TROUBLE_S
            await client.close()

    play(scene)


def test_load_spreads_again_and_nothing_under_way_is_lost_by_it() -> None:
    async def scene() -> None:
        async with three_servers() as servers:
            clock = ManualClock()
            gates = [asyncio.Event() for _ in servers]
            for server, gate in zip(servers, gates, strict=True):

                async def later(_request: object, gate: asyncio.Event = gate) -> NodesReply:
                    await gate.wait()
                    return NodesReply(meta=QueryMeta(index=5), nodes=())

                server.answer(CATALOG_NODES, later)
            client = ServerClient(None, clock, random.Random(3))
            client.set_servers(tuple(server.address for server in servers))
            await client.start()
            first = await who(client)
            slow = asyncio.ensure_future(client.call(CATALOG_NODES, Read()))
            frames = client.subscribe(TOPIC)
            assert (await anext(frames)).reset
            following = asyncio.ensure_future(anext(frames))
            await until(lambda: any(name == CATALOG_NODES.name for name, _ in servers[first].calls))
            while await who(client) == first:
                await clock.advance(REBALANCE_S[1])
                await asyncio.sleep(0.01)
            second = await who(client)
            await clock.advance(1.0)
            await until(lambda: servers[second].subscriptions)
            assert servers[second].subscriptions[-1].index == 1
            servers[second].publish(TOPIC, StreamFrame(index=2))
            assert (await following).index == 2
            assert not slow.done()
            gates[first].set()
            assert (await slow).meta.index == 5
            assert [len([1 for name, _ in server.calls if name == CATALOG_NODES.name]) for server in servers].count(
                1
            ) == 1
            await frames.aclose()  # type: ignore[attr-defined]
            await client.close()

    assert DRAIN_S > 0
    play(scene)


def test_a_server_that_left_the_cluster_is_left_too() -> None:
    async def scene() -> None:
        async with three_servers() as servers:
            client = ServerClient(None, rng=random.Random(1))
            client.set_servers((servers[0].address,))
            await client.start()
            assert await who(client) == 0
            client.set_servers((servers[2].address,))
            while await who(client) != 2:
                await asyncio.sleep(0.01)
            await client.close()

    play(scene)


def test_the_only_server_is_kept_whatever_it_says() -> None:
    async def scene() -> None:
        async with three_servers() as servers:
            clock = ManualClock()
            servers[0].answer(CATALOG_NODES, lambda _request: errors.Unavailable("not now"))
            client = ServerClient(None, clock, random.Random(1))
            client.set_servers((servers[0].address,))
            await client.start()
            reading = asyncio.ensure_future(client.call(CATALOG_NODES, Read()))
            while not reading.done():
                await clock.advance(0.5)
                await asyncio.sleep(0.002)
            with pytest.raises(errors.Unavailable, match="not now"):
                await reading
            assert await who(client) == 0
            await client.close()

    play(scene)


def test_keys_that_differ_are_said_to_whoever_waits() -> None:
    async def scene() -> None:
        other = base64.b64encode(b"o" * 32).decode()
        server = FakeServer(None, ClusterIdentity((KEY,), SERVER, "5e-1", "s", "dc1", SystemClock()))
        await server.start()
        identity = ClusterIdentity((other,), AGENT, "a9-1", "a", "dc1", SystemClock())
        client = ServerClient(None, rng=random.Random(1), identity=identity)
        client.set_servers((server.address,))
        await client.start()
        with pytest.raises(errors.Unavailable, match="the gossip keys differ"):
            await client.call(STATUS_LEADER, Empty(), timeout_s=1.0)
        await client.close()
        await server.close()

    play(scene)


def test_a_long_blocking_read_that_loses_its_server_late_goes_on_at_another() -> None:
    async def scene() -> None:
        async with three_servers() as servers:
            clock = ManualClock()
            asked = asyncio.Event()

            async def never(_request: object) -> None:
                asked.set()
                await asyncio.Event().wait()

            servers[0].answer(CATALOG_NODES, never)
            client = ServerClient(None, clock, random.Random(1))
            client.set_servers((servers[0].address,))
            await client.start()
            reading = asyncio.ensure_future(client.call(CATALOG_NODES, Read(), timeout_s=300.0))
            await asked.wait()
            await clock.advance(100.0)
            client.set_servers((servers[1].address, servers[0].address))
            await servers[0].close()
            assert (await reading).meta.index == 1
            await client.close()

    play(scene)
