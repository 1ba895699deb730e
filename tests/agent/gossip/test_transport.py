"""Gossip's sockets against those who send what they should not. Real sockets on 127.0.0.1."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop

from chowk.agent.gossip import streams
from chowk.agent.gossip.sealed import DATAGRAM, KEYS_DIFFER, NOT_ENCRYPTED, OTHER_DATACENTER, Sealer
from chowk.agent.gossip.streams import NoGossip, RefusedByPeer
from chowk.agent.gossip.transport import CONNECTIONS_MAX, DATAGRAM_BYTES_MAX, Transport
from chowk.core.runtime.clock import SystemClock
from chowk.core.runtime.refusals import Refusals
from chowk.core.runtime.sockets import PortTaken

KEYS = (b"k" * 32,)


class End:
    """A transport, and what it received."""

    def __init__(
        self, keys: tuple[bytes, ...] = KEYS, datacenter: str = "dc1", timeout_s: float = 10, host: str = "127.0.0.1"
    ) -> None:
        self.refusals = Refusals("gossip", SystemClock())
        self.sealer = Sealer(datacenter, keys)
        self.got: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport = Transport(
            host, 0, self.sealer, self.refusals, self._datagram, self._serve, stream_timeout_s=timeout_s
        )

    def _datagram(self, payload: bytes, _sender: tuple[str, int]) -> None:
        self.got.put_nowait(payload)

    async def _serve(self, question: bytes, _sender: tuple[str, int]) -> bytes:
        return question[::-1]

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.transport.port)

    def count(self, reason: str) -> int:
        return self.refusals.counts.get(reason, 0)


@asynccontextmanager
async def ends(*wanted: End) -> AsyncIterator[None]:
    for end in wanted:
        await end.transport.start()
    try:
        yield
    finally:
        for end in wanted:
            await end.transport.close()


def run(body: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(body(), 20))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("keys", [(), KEYS])
def test_datagrams_and_questions_reach_the_other_end(keys: tuple[bytes, ...]) -> None:
    async def body() -> None:
        one, two = End(keys), End(keys)
        async with ends(one, two):
            one.transport.send(b"hello", two.address)
            assert await two.got.get() == b"hello"
            longest = bytes(one.transport.payload_bytes_max)
            one.transport.send(longest, two.address)
            assert await two.got.get() == longest
            for size in (0, 1, streams.PIECE_BYTES, streams.PIECE_BYTES + 1, streams.MESSAGE_BYTES_MAX):
                question = random.Random(size).randbytes(size)
                assert await one.transport.ask(question, two.address, 10) == question[::-1]

    run(body)


def test_a_datagram_is_never_longer_than_promised_and_never_goes_to_a_name() -> None:
    async def body() -> None:
        one = End()
        async with ends(one):
            assert one.transport.payload_bytes_max + one.sealer.overhead == DATAGRAM_BYTES_MAX
            one.transport.send(bytes(one.transport.payload_bytes_max + 1), one.address)
            for to in (("localhost", 1), ("127.0.0.1", 0), ("127.0.0.1", 65536), ("", 8301)):
                one.transport.send(b"x", to)
            assert one.transport.counts["dropped"] == 5
            assert one.transport.counts["sent"] == 0

    run(body)


def test_a_flood_of_garbage_and_foreign_packets_is_counted_and_the_cluster_is_still_heard() -> None:
    async def body() -> None:
        one, two = End(), End()
        rng = random.Random(5)
        async with ends(one, two):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rogue:
                for _ in range(50):
                    for packet in (
                        rng.randbytes(rng.randrange(1, 1500)),
                        Sealer("dc1", ()).seal(b"x", DATAGRAM),
                        Sealer("dc1", (b"z" * 16,)).seal(b"x", DATAGRAM),
                        Sealer("dc2", KEYS).seal(b"x", DATAGRAM),
                        bytes(65_507),
                    ):
                        rogue.sendto(packet, one.address)
                    await asyncio.sleep(0)
            await until(lambda: one.count(KEYS_DIFFER) == 50 and sum(one.refusals.counts.values()) == 250)
            assert (one.count(NOT_ENCRYPTED), one.count(OTHER_DATACENTER)) == (50, 50)
            assert one.count("oversized") >= 50
            two.transport.send(b"still here", one.address)
            assert await one.got.get() == b"still here"
            assert one.got.empty()

    run(body)


@pytest.mark.parametrize(
    ("stranger", "reason"),
    [(End((b"z" * 32,)), KEYS_DIFFER), (End(()), NOT_ENCRYPTED), (End(KEYS, "paris"), OTHER_DATACENTER)],
    ids=["wrong key", "no key", "other datacenter"],
)
def test_a_stranger_is_told_why_and_gets_nothing_else(stranger: End, reason: str) -> None:
    async def body() -> None:
        one = End()
        async with ends(one):
            with pytest.raises(RefusedByPeer) as refused:
                await stranger.transport.ask(b"let me in", one.address, 5)
            assert refused.value.reason == reason
            assert one.count(reason) == 1

    run(body)


def test_what_listens_but_is_no_gossip_is_told() -> None:
    async def body() -> None:
        async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        one = End()
        async with ends(one):
            with pytest.raises(NoGossip):
                await one.transport.ask(b"x", server.sockets[0].getsockname(), 5)
        server.close()

    run(body)


def test_a_recorded_question_opens_nothing_a_second_time() -> None:
    async def body() -> None:
        one, two = End(), End()
        heard = []
        recorded = bytearray()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_connection(*one.address)
            writer.write(await up_reader.readexactly(len(streams.MAGIC) + streams.CHALLENGE_BYTES))
            recorded.extend(await reader.read(4096))
            up_writer.write(recorded)
            writer.write(await up_reader.read(4096))
            up_writer.close()
            heard.append(True)

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        async with ends(one, two):
            assert await two.transport.ask(b"abc", server.sockets[0].getsockname(), 5) == b"cba"
            reader, writer = await asyncio.open_connection(*one.address)
            await reader.readexactly(len(streams.MAGIC) + streams.CHALLENGE_BYTES)
            writer.write(recorded)
            assert (await reader.read())[:4] == bytes(4)
            assert one.count(KEYS_DIFFER) == 1
            writer.close()
        server.close()
        assert heard

    run(body)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" * 8,
        b"\x80\x00\x00\x05hello",
        b"\x80\x01\x05\x00" + bytes(66_000),
        bytes(4),
    ],
)
def test_garbage_on_a_stream_ends_it(data: bytes) -> None:
    async def body() -> None:
        one = End()
        async with ends(one):
            reader, writer = await asyncio.open_connection(*one.address)
            writer.write(data)
            with suppress(ConnectionResetError):
                await reader.read()
            await until(lambda: sum(one.refusals.counts.values()) == 1)
            writer.close()

    run(body)


def test_a_stream_cut_short_is_counted_but_a_bare_connect_is_not() -> None:
    async def body() -> None:
        one = End()
        async with ends(one):
            for data in (b"", b"\x80\x00"):
                reader, writer = await asyncio.open_connection(*one.address)
                writer.write(data)
                writer.write_eof()
                await reader.read()
                writer.close()
            assert one.refusals.counts == {"truncated": 1}

    run(body)


def test_slow_senders_are_cut_off_at_the_deadline() -> None:
    async def body() -> None:
        one = End(timeout_s=0.1)
        async with ends(one):
            reader, writer = await asyncio.open_connection(*one.address)
            await reader.readexactly(len(streams.MAGIC) + streams.CHALLENGE_BYTES)
            writer.write(b"\x80\x00\x00")
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            assert one.count("slow") == 1
            writer.close()

    run(body)


def test_silent_connections_are_pushed_out_and_a_member_still_gets_its_answer() -> None:
    async def body() -> None:
        one, two = End(), End()
        async with ends(one, two):
            silent = [await asyncio.open_connection(*one.address) for _ in range(CONNECTIONS_MAX * 2)]
            assert await two.transport.ask(b"abc", one.address, 5) == b"cba"
            assert one.count("pushed-out") == CONNECTIONS_MAX + 1
            for _reader, writer in silent:
                writer.close()

    run(body)


def test_a_reader_that_never_reads_does_not_hold_the_listener() -> None:
    async def body() -> None:
        one = End((), timeout_s=0.3)
        async with ends(one):
            reader, writer = await asyncio.open_connection(*one.address, limit=1024)
            await reader.readexactly(len(streams.MAGIC) + streams.CHALLENGE_BYTES)
            sealer = Sealer("dc1", ())
            for number in range(255):
                packet = sealer.seal(bytes(streams.PIECE_BYTES), b"q")
                last = number == 254
                writer.write((len(packet) | (last << 31)).to_bytes(4, "big") + packet)
            await until(lambda: one.count("slow") == 1)
            writer.transport.abort()

    run(body)


def test_a_taken_port_is_named_for_udp_as_for_tcp() -> None:
    async def body() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            # Of an address that no other test uses: on a busy one the port may be taken for TCP as well.
            other.bind(("127.83.11.2", 0))
            port = other.getsockname()[1]
            one = End(host="127.83.11.2")
            one.transport.port = port
            with pytest.raises(PortTaken, match=rf"serf_lan.*udp port {port} .*taken"):
                await one.transport.start()

    run(body)


def test_members_that_send_too_much_at_once_are_refused_and_what_they_held_is_free_again() -> None:
    async def body() -> None:
        one, two = End(), End()
        longest = bytes(streams.MESSAGE_BYTES_MAX)
        async with ends(one, two):
            asked = [two.transport.ask(longest, one.address, 10) for _ in range(8)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert one.count("over-budget") == sum(answer != longest for answer in answers) > 0
            assert await two.transport.ask(longest, one.address, 10) == longest

    run(body)
