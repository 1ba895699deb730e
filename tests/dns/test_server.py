"""The server over real sockets of the loopback, on the loop that the agent runs."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from chowk.core.runtime.clock import SystemClock
from chowk.core.runtime.sockets import PortTaken
from chowk.dns import tcp as tcp_module
from chowk.dns.server import DnsServer
from chowk.dns.settings import DnsSettings, RateSettings
from support.dns_lookup import FakeLookup, instance
from support.dns_wire import ask_tcp, ask_udp, data, packet, rcode, read, read_frame

SETTINGS = DnsSettings()


def run(
    scenario: Callable[[DnsServer], Awaitable[None]],
    lookup: FakeLookup | None = None,
    addresses: tuple[str, ...] = ("127.0.0.1",),
) -> None:
    async def body() -> None:
        found = lookup or registry()
        server = DnsServer(found, SETTINGS, "agent1", "dc1", SystemClock(), random.Random(1))
        await server.start(addresses, 0)
        try:
            async with asyncio.timeout(30):
                await scenario(server)
        finally:
            await server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(body())


def registry() -> FakeLookup:
    lookup = FakeLookup()
    lookup.services["web"] = tuple(instance("web", number) for number in range(40))
    return lookup


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_udp_and_tcp_answer_on_one_port() -> None:
    async def scenario(server: DnsServer) -> None:
        (small,) = await ask_udp("127.0.0.1", server.port, packet("web.service.consul"))
        (large,) = await ask_tcp("127.0.0.1", server.port, packet("web.service.consul"))
        assert len(data(small)) == 3
        assert len(data(large)) == 40
        assert server.stats().queries == 2

    run(scenario)


@pytest.mark.skipif(not has_ipv6(), reason="this host has no ::1")
def test_ipv4_and_ipv6_listen_side_by_side() -> None:
    async def scenario(server: DnsServer) -> None:
        for host in ("127.0.0.1", "::1"):
            (reply,) = await ask_udp(host, server.port, packet("web.service.consul", edns=4096))
            assert len(data(reply)) == 40

    run(scenario, addresses=("127.0.0.1", "::1"))


def test_a_taken_port_says_whose_and_leaves_nothing_open() -> None:
    async def scenario(server: DnsServer) -> None:
        second = DnsServer(registry(), SETTINGS, "agent1", "dc1", SystemClock())
        with pytest.raises(PortTaken, match=f"DNS: .*{server.port}"):
            await second.start(("127.0.0.2", "127.0.0.1"), server.port)
        third = DnsServer(registry(), SETTINGS, "agent1", "dc1", SystemClock())
        await third.start(("127.0.0.2",), server.port)
        await third.close()

    run(scenario)


def test_many_queries_may_be_sent_at_once_on_one_connection() -> None:
    async def scenario(server: DnsServer) -> None:
        queries = [packet("web.service.consul", number=number) for number in range(500)]
        replies = await ask_tcp("127.0.0.1", server.port, *queries)
        assert sorted(int.from_bytes(reply[:2], "big") for reply in replies) == list(range(500))

    run(scenario)


def test_a_slow_query_does_not_hold_up_the_ones_behind_it() -> None:
    lookup = registry()
    lookup.known_everything = False
    lookup.fetched = {("health", "web"), ("nodes", "")}
    lookup.gate = asyncio.Event()

    async def scenario(server: DnsServer) -> None:
        slow, quick = packet("slow.service.consul", number=1), packet("web.service.consul", number=2)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for query in (slow, quick):
            writer.write(len(query).to_bytes(2, "big") + query)
        assert (await read_frame(reader))[:2] == b"\0\2"
        writer.write_eof()
        assert lookup.gate is not None
        lookup.gate.set()
        assert (await read_frame(reader))[:2] == b"\0\1"
        assert await reader.read() == b""
        writer.close()

    run(scenario, lookup)


def test_more_pending_queries_than_a_pipeline_takes_are_all_answered_in_the_end() -> None:
    lookup = registry()
    lookup.known_everything = False
    lookup.gate = asyncio.Event()

    async def scenario(server: DnsServer) -> None:
        count = tcp_module.PIPELINE_MAX * 3
        queries = [packet("web.service.consul", number=number) for number in range(count)]
        asking = asyncio.ensure_future(ask_tcp("127.0.0.1", server.port, *queries))
        while not lookup.fetches:
            await asyncio.sleep(0)
        assert server.stats().queries <= tcp_module.PIPELINE_MAX
        assert lookup.gate is not None
        lookup.gate.set()
        replies = await asking
        assert sorted(int.from_bytes(reply[:2], "big") for reply in replies) == list(range(count))

    run(scenario, lookup)


def test_a_query_may_come_byte_by_byte() -> None:
    async def scenario(server: DnsServer) -> None:
        query = packet("web.service.consul")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for byte in len(query).to_bytes(2, "big") + query:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert len(data(await read_frame(reader))) == 40
        writer.close()

    run(scenario)


def test_a_connection_that_asks_nothing_in_time_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_module, "IDLE_TIMEOUT_S", 0.05)

    async def scenario(server: DnsServer) -> None:
        for start in (b"", b"\0", b"\x10\0abc"):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(start)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)
            writer.close()

    run(scenario)


def test_over_the_cap_the_quietest_connection_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_module, "CONNECTIONS_MAX", 3)

    async def scenario(server: DnsServer) -> None:
        query = packet("web.service.consul")
        framed = len(query).to_bytes(2, "big") + query
        streams = []
        for _ in range(3):
            streams.append(await asyncio.open_connection("127.0.0.1", server.port))
            streams[-1][1].write(framed)
            await read_frame(streams[-1][0])
        streams[0][1].write(framed)  # so that the second is now the quietest
        await read_frame(streams[0][0])
        assert await ask_tcp("127.0.0.1", server.port, query)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await streams[1][0].readexactly(1)
        streams[0][1].write(framed)
        await read_frame(streams[0][0])
        for _, writer in streams:
            writer.close()

    run(scenario)


def test_garbage_over_both_transports_does_not_stop_the_answers() -> None:
    async def scenario(server: DnsServer) -> None:
        rng = random.Random(4)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as junk:
            for _ in range(300):
                junk.sendto(rng.randbytes(rng.randrange(0, 600)), ("127.0.0.1", server.port))
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(rng.randbytes(rng.randrange(1, 5000)))
            writer.close()
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("web.service.consul"))
        assert rcode(reply) == "NOERROR"
        (reply,) = await ask_tcp("127.0.0.1", server.port, packet("web.service.consul"))
        assert rcode(reply) == "NOERROR"

    run(scenario)


def test_of_what_waits_in_the_kernel_the_newest_is_answered_first() -> None:
    async def scenario(server: DnsServer) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            for number in range(200):  # the server runs on this very loop, which does not turn meanwhile
                name = "web" if number == 199 else f"absent{number}"
                client.sendto(packet(f"{name}.service.consul", number=number), ("127.0.0.1", server.port))
            loop = asyncio.get_running_loop()
            replies = [await loop.sock_recv(client, 4096) for _ in range(200)]
        numbers = [int.from_bytes(reply[:2], "big") for reply in replies]
        assert numbers == list(range(199, -1, -1))

    run(scenario)


class _Slow(SystemClock):
    """A clock for which each look takes a millisecond: a host on which every answer is expensive."""

    def __init__(self) -> None:
        self._looks = 0

    def now(self) -> float:
        self._looks += 1
        return self._looks / 1000


def test_under_overload_what_is_ready_goes_out_what_waited_is_dropped_and_then_all_is_well() -> None:
    async def body() -> None:
        server = DnsServer(registry(), SETTINGS, "agent1", "dc1", _Slow(), random.Random(1))
        await server.start(("127.0.0.1",), 0)
        known = packet("web.service.consul", number=999)
        await ask_udp("127.0.0.1", server.port, known)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            for number in range(400):
                client.sendto(packet(f"absent{number}.service.consul", number=number), ("127.0.0.1", server.port))
                if number == 200:
                    client.sendto(known, ("127.0.0.1", server.port))
            first = await asyncio.get_running_loop().sock_recv(client, 4096)
            assert int.from_bytes(first[:2], "big") == 999  # from the middle of what waits, since it is ready
            while not server.stats().dropped_late:
                await asyncio.sleep(0)
        stats = server.stats()
        assert stats.queries + stats.dropped_late <= 402
        assert stats.dropped_late >= 100
        for number in range(3):
            (reply,) = await ask_udp("127.0.0.1", server.port, packet(f"later{number}.service.consul"))
            assert rcode(reply) == "NXDOMAIN"
        await server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(body(), 30))


def test_replies_over_the_rate_limit_are_truncated_over_udp_and_whole_over_tcp() -> None:
    async def scenario(server: DnsServer) -> None:
        limit = RateSettings(per_second=5, exempt=())
        server.reload(DnsSettings(response_rate_limit=limit))
        queries = [packet("web.service.consul", number=number) for number in range(20)]
        found = [read(reply).header.tc for reply in await ask_udp("127.0.0.1", server.port, *queries)]
        assert 12 <= found.count(1) <= 15  # a second is long, and brings new tokens
        assert server.stats().slipped == found.count(1)
        assert all(len(data(reply)) == 40 for reply in await ask_tcp("127.0.0.1", server.port, *queries))
        server.reload(DnsSettings())
        assert not any(read(reply).header.tc for reply in await ask_udp("127.0.0.1", server.port, *queries))

    run(scenario)


def test_reload_takes_new_settings_and_refuses_bad_ones() -> None:
    async def scenario(server: DnsServer) -> None:
        server.reload(DnsSettings(domain="other"))
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("web.service.other", edns=4096))
        assert len(data(reply)) == 40
        with pytest.raises(ValueError, match="recursor"):
            server.reload(DnsSettings(recursors=("example.com",)))
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("web.service.other", edns=4096))
        assert len(data(reply)) == 40

    run(scenario)


def test_a_server_that_is_its_own_recursor_leaves_itself_out() -> None:
    async def scenario(server: DnsServer) -> None:
        server.reload(DnsSettings(recursors=(f"127.0.0.1:{server.port}",)))
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("example.com"))
        assert rcode(reply) == "REFUSED"

    run(scenario)


def test_close_frees_the_port_while_clients_wait() -> None:
    lookup = FakeLookup(known=False)
    lookup.gate = asyncio.Event()

    async def scenario(server: DnsServer) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        query = packet("web.service.consul")
        writer.write(len(query).to_bytes(2, "big") + query)
        while not lookup.fetches:
            await asyncio.sleep(0)
        await server.close()
        heir = DnsServer(registry(), SETTINGS, "agent1", "dc1", SystemClock())
        await heir.start(("127.0.0.1",), server.port)
        assert len(data((await ask_tcp("127.0.0.1", heir.port, query))[0])) == 40
        await heir.close()
        writer.close()

    run(scenario, lookup)
