"""Forwarding to recursors: real upstreams on the loopback that behave well, badly and worse."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import dnslib
import pytest

from chowk.core.runtime.clock import SystemClock
from chowk.dns import recursor as recursor_module
from chowk.dns.recursor import parse_recursor
from chowk.dns.server import DnsServer
from chowk.dns.settings import DnsSettings
from support.dns_lookup import FakeLookup, instance
from support.dns_wire import ask_tcp, ask_udp, data, packet, rcode, read, read_frame

Answerer = Callable[[dnslib.DNSRecord, bool], list[bytes]]


class Upstream(asyncio.DatagramProtocol):
    """A recursor whose replies `answer(query, tcp)` gives; it remembers what it was asked."""

    def __init__(self, answer: Answerer) -> None:
        self.answer = answer
        self.asked: list[tuple[int, int, bool]] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        loop = asyncio.get_running_loop()
        while True:  # until one port is free for both TCP and UDP
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
            try:
                self.transport, _ = await loop.create_datagram_endpoint(
                    lambda: self, local_addr=("127.0.0.1", self.port)
                )
            except OSError:
                self._server.close()
                continue
            break
        return f"127.0.0.1:{self.port}"

    async def close(self) -> None:
        self.transport.close()
        if self._server is not None:
            self._server.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = read(data)
        self.asked.append((query.header.id, addr[1], False))
        for reply in self.answer(query, False):
            self.transport.sendto(reply, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = read(await read_frame(reader))
        self.asked.append((query.header.id, 0, True))
        for reply in self.answer(query, True):
            writer.write(len(reply).to_bytes(2, "big") + reply)
        writer.close()


def good(query: dnslib.DNSRecord, tcp: bool) -> list[bytes]:
    reply = query.reply(aa=0)
    for number in range(100 if tcp else 1):
        reply.add_answer(dnslib.RR(query.q.qname, 1, rdata=dnslib.A(f"93.184.216.{number}"), ttl=60))
    return [bytes(reply.pack())]


def failing(code: int) -> Answerer:
    def answer(query: dnslib.DNSRecord, _tcp: bool) -> list[bytes]:
        reply = query.reply()
        reply.header.rcode = code
        return [bytes(reply.pack())]

    return answer


def silent(_query: dnslib.DNSRecord, _tcp: bool) -> list[bytes]:
    return []


def run(
    scenario: Callable[[DnsServer, list[Upstream]], Awaitable[None]],
    *answers: Answerer,
    lookup: FakeLookup | None = None,
    timeout_s: float = 0.2,
    strategy: str = "sequential",
) -> None:
    async def body() -> None:
        upstreams = [Upstream(answer) for answer in answers]
        addresses = tuple([await upstream.start() for upstream in upstreams])
        settings = DnsSettings(recursors=addresses, recursor_timeout_s=timeout_s, recursor_strategy=strategy)
        server = DnsServer(lookup or FakeLookup(), settings, "agent1", "dc1", SystemClock(), random.Random(1))
        await server.start(("127.0.0.1",), 0)
        try:
            async with asyncio.timeout(20):
                await scenario(server, upstreams)
        finally:
            await server.close()
            for upstream in upstreams:
                await upstream.close()

    asyncio.run(body())


def test_a_foreign_name_is_asked_of_the_recursor() -> None:
    async def scenario(server: DnsServer, _upstreams: list[Upstream]) -> None:
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("Example.com", number=0x4242))
        found = read(reply)
        assert found.header.id == 0x4242
        assert (found.header.ra, found.header.aa) == (1, 0)
        assert str(found.q.qname) == "Example.com."
        assert data(reply) == ["93.184.216.0"]

    run(scenario, good)


def test_our_own_names_are_never_asked_of_a_recursor() -> None:
    async def scenario(server: DnsServer, upstreams: list[Upstream]) -> None:
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("nobody.service.consul"))
        assert rcode(reply) == "NXDOMAIN"
        assert upstreams[0].asked == []

    run(scenario, good)


def test_ids_and_source_ports_are_fresh_each_time() -> None:
    async def scenario(server: DnsServer, upstreams: list[Upstream]) -> None:
        for number in range(8):
            await ask_udp("127.0.0.1", server.port, packet(f"h{number}.example.com", number=7))
        ids, ports, _ = zip(*upstreams[0].asked, strict=True)
        assert len(set(ids)) > 5
        assert len(set(ports)) > 5

    run(scenario, good)


@pytest.mark.parametrize("first", [silent, failing(2), failing(5)])
def test_the_next_recursor_is_asked_when_one_fails(first: Answerer) -> None:
    async def scenario(server: DnsServer, upstreams: list[Upstream]) -> None:
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("example.com"))
        assert data(reply) == ["93.184.216.0"]
        assert [len(upstream.asked) for upstream in upstreams] == [1, 1]

    run(scenario, first, good)


@pytest.mark.parametrize(("strategy", "asked"), [("sequential", 1), ("random", 2)])
def test_recursors_are_asked_in_their_order_or_in_any(strategy: str, asked: int) -> None:
    async def scenario(server: DnsServer, upstreams: list[Upstream]) -> None:
        for number in range(16):
            await ask_udp("127.0.0.1", server.port, packet(f"h{number}.example.com"))
        assert sum(1 for upstream in upstreams if upstream.asked) == asked
        assert sum(len(upstream.asked) for upstream in upstreams) == 16

    run(scenario, good, good, strategy=strategy)


def test_nxdomain_of_a_recursor_is_an_answer() -> None:
    async def scenario(server: DnsServer, upstreams: list[Upstream]) -> None:
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("example.com"))
        assert rcode(reply) == "NXDOMAIN"
        assert upstreams[1].asked == []

    run(scenario, failing(3), good)


def test_when_no_recursor_answers_the_client_gets_servfail() -> None:
    async def scenario(server: DnsServer, _upstreams: list[Upstream]) -> None:
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("example.com"))
        assert rcode(reply) == "SERVFAIL"

    run(scenario, silent, silent, timeout_s=0.1)


def test_a_recursor_that_is_not_there_is_passed_over_at_once() -> None:
    async def scenario(server: DnsServer, upstreams: list[Upstream]) -> None:
        await upstreams[0].close()
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("example.com"))
        assert data(reply) == ["93.184.216.0"]

    run(scenario, silent, good, timeout_s=8)


def forged(query: dnslib.DNSRecord, _tcp: bool) -> list[bytes]:
    """Replies that are all wrong in one thing, then the right one."""
    right = good(query, False)[0]
    other_id = bytes([right[0] ^ 1]) + right[1:]
    other_name = bytearray(right)
    other_name[13] ^= 1
    other_type = good(dnslib.DNSRecord(query.header, q=dnslib.DNSQuestion(query.q.qname, 28)), True)[0]
    still_a_query = bytes([*right[:2], right[2] & 0x7F, *right[3:]])
    wrong = [other_id, bytes(other_name), other_type, still_a_query, right[:11], b""]
    poison = [one.replace(bytes([93, 184, 216, 0]), bytes([6, 6, 6, 6])) for one in wrong]
    return [*poison, right]


def test_replies_that_do_not_match_the_question_are_ignored() -> None:
    async def scenario(server: DnsServer, _upstreams: list[Upstream]) -> None:
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("example.com"))
        assert data(reply) == ["93.184.216.0"]

    run(scenario, forged, timeout_s=5)


def truncating(query: dnslib.DNSRecord, tcp: bool) -> list[bytes]:
    if tcp:
        return good(query, True)
    reply = query.reply()
    reply.header.tc = 1
    return [bytes(reply.pack())]


def test_a_truncated_reply_is_asked_again_over_tcp_for_a_tcp_client() -> None:
    async def scenario(server: DnsServer, upstreams: list[Upstream]) -> None:
        (reply,) = await ask_tcp("127.0.0.1", server.port, packet("example.com"))
        assert len(data(reply)) == 100
        assert [tcp for _, _, tcp in upstreams[0].asked] == [False, True]
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("example.com"))
        assert read(reply).header.tc == 1

    run(scenario, truncating)


def test_equal_questions_in_flight_share_one_exchange() -> None:
    async def scenario(server: DnsServer, upstreams: list[Upstream]) -> None:
        queries = [packet("example.com", number=number) for number in range(50)]
        replies = await ask_udp("127.0.0.1", server.port, *queries)
        assert sorted(int.from_bytes(reply[:2], "big") for reply in replies) == list(range(50))
        assert len(upstreams[0].asked) < 10

    run(scenario, good)


def test_questions_in_flight_are_bounded_and_the_next_is_servfail_at_once() -> None:
    async def scenario(server: DnsServer, upstreams: list[Upstream]) -> None:
        count = recursor_module.EXCHANGES_MAX
        asking = []
        for number in range(count):
            query = packet(f"h{number}.example.com", number=number)
            asking.append(asyncio.ensure_future(ask_udp("127.0.0.1", server.port, query, timeout_s=30)))
            while server.stats().queries <= number:  # so that no socket's buffer overflows
                await asyncio.sleep(0)
        replies = await ask_udp("127.0.0.1", server.port, packet("one.example.com"), packet("more.example.com"))
        assert {rcode(reply) for reply in replies} == {"SERVFAIL"}
        assert len(upstreams[0].asked) <= count
        assert not any(task.done() for task in asking)
        for task in asking:
            task.cancel()

    run(scenario, silent, timeout_s=30)


def test_two_servers_that_are_each_others_recursors_end_with_servfail() -> None:
    async def body() -> None:
        servers = [DnsServer(FakeLookup(), DnsSettings(), f"a{i}", "dc1", SystemClock()) for i in range(2)]
        for server in servers:
            await server.start(("127.0.0.1",), 0)
        for server, other in zip(servers, reversed(servers), strict=True):
            server.reload(DnsSettings(recursors=(f"127.0.0.1:{other.port}",), recursor_timeout_s=0.2))
        async with asyncio.timeout(10):
            (reply,) = await ask_udp("127.0.0.1", servers[0].port, packet("example.com"))
        assert rcode(reply) == "SERVFAIL"
        assert sum(server.stats().recursions for server in servers) < 10
        for server in servers:
            await server.close()

    asyncio.run(body())


def test_a_reverse_name_nobody_of_ours_has_goes_to_the_recursor() -> None:
    async def scenario(server: DnsServer, upstreams: list[Upstream]) -> None:
        await ask_udp("127.0.0.1", server.port, packet("1.0.0.10.in-addr.arpa", "PTR"))
        await ask_udp("127.0.0.1", server.port, packet("9.9.9.9.in-addr.arpa", "PTR"))
        assert len(upstreams[0].asked) == 1

    lookup = FakeLookup()
    lookup.services["web"] = (instance("web", 0),)
    run(scenario, good, lookup=lookup)


def chained(query: dnslib.DNSRecord, _tcp: bool) -> list[bytes]:
    reply = query.reply(aa=0)
    reply.add_answer(dnslib.RR("evil.example", 1, rdata=dnslib.A("6.6.6.6"), ttl=60))
    reply.add_answer(dnslib.RR(query.q.qname, 5, rdata=dnslib.CNAME("real.example.com"), ttl=60))
    reply.add_answer(dnslib.RR("real.example.com", 1, rdata=dnslib.A("93.184.216.7"), ttl=60))
    return [bytes(reply.pack())]


def test_a_host_name_of_a_service_brings_the_addresses_it_leads_to_and_no_others() -> None:
    async def scenario(server: DnsServer, _upstreams: list[Upstream]) -> None:
        (reply,) = await ask_udp("127.0.0.1", server.port, packet("db.service.consul", edns=1232))
        assert data(reply) == ["db.example.com.", "real.example.com.", "93.184.216.7"]

    lookup = FakeLookup()
    lookup.services["db"] = (instance("db", 0, address="db.example.com"),)
    run(scenario, chained, lookup=lookup)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("10.0.0.2", ("10.0.0.2", 53)),
        ("10.0.0.2:5353", ("10.0.0.2", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]:54", ("2001:db8::1", 54)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
    ],
)
def test_recursors_are_written_in_these_ways(text: str, endpoint: tuple[str, int]) -> None:
    assert parse_recursor(text) == endpoint


@pytest.mark.parametrize("text", ["", "example.com", "10.0.0.2:0", "10.0.0.2:x", "10.0.0.2:99999", "[::1", "1.2.3"])
def test_anything_else_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="recursor"):
        parse_recursor(text)
