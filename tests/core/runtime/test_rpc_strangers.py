"""What a stranger at the RPC port can do: nothing, at a bounded cost; and what a member that misbehaves can."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop

from chowk.core import errors
from chowk.core.requests import Empty, Message, Method
from chowk.core.runtime.clock import ManualClock, SystemClock
from chowk.core.runtime.rpc import answers, frames, outbox, reasons, tcp
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.endpoints import AGENT, SERVER, Endpoints, Peer
from chowk.core.runtime.rpc.identity import ClusterIdentity
from chowk.core.runtime.rpc.tcp import TcpListener, dial_tcp
from chowk.core.runtime.rpc.trust import BACKDATED_S, LIFE_S, Authority, Holder

KEY = base64.b64encode(b"k" * 32).decode()


class Blob(Message, frozen=True, kw_only=True):
    data: bytes = b""


ECHO = Method("Test.Echo", Blob, Blob, "")
FLOOD = Method("Test.Flood", Empty, Blob, "")
HANG = Method("Test.Hang", Empty, Empty, "")


def member(key: str = KEY, *, role: str = SERVER, datacenter: str = "dc1", wall_s: float = 0.0) -> ClusterIdentity:
    clock = ManualClock(wall=time.time() + wall_s)
    return ClusterIdentity((key,), role, "7f1e-1", "n1", datacenter, clock)


class Hub:
    def __init__(self, identity: ClusterIdentity | None) -> None:
        self.reached = 0
        endpoints = Endpoints()
        endpoints.serve(ECHO, self._echo)
        endpoints.serve(HANG, self._hang)
        endpoints.serve_stream(FLOOD, self._flood)
        self.listener = TcpListener("127.0.0.1", 0, endpoints, identity)

    async def _echo(self, request: Blob, _peer: Peer) -> Blob:
        self.reached += 1
        return request

    async def _hang(self, _request: Empty, _peer: Peer) -> Empty:
        await asyncio.Event().wait()
        return Empty()

    async def _flood(self, _request: Empty, _peer: Peer) -> AsyncIterator[Blob]:
        while True:
            yield Blob(data=b"x" * 1000)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.port}"

    @property
    def refused(self) -> dict[str, int]:
        return self.listener.refusals.counts


def with_hub(identity: ClusterIdentity | None, scene: Callable[[Hub], Awaitable[None]]) -> None:
    async def main() -> None:
        hub = Hub(identity)
        await hub.listener.start()
        try:
            async with asyncio.timeout(30):
                await scene(hub)
        finally:
            await hub.listener.close()

    uvloop.run(main())


async def send(hub: Hub, data: bytes, pieces: int = 1, *, context: ssl.SSLContext | None = None) -> bytes:
    """Send, read to the end."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", hub.listener.port, ssl=context, server_hostname="" if context else None
    )
    try:
        size = max(1, len(data) // pieces)
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
        if not context:
            writer.write_eof()
        async with asyncio.timeout(0.1 if context else None):  # part of a frame is waited for
            return await reader.read()
    except (OSError, TimeoutError):
        return b""
    finally:
        writer.close()


def garbage(rng: random.Random) -> bytes:
    request = bytes(frames.encode(frames.REQUEST, 1, ECHO.name, 1000, Blob(data=b"x")))
    match rng.randrange(7):
        case 0:
            return rng.randbytes(rng.randrange(1, 300))
        case 1:
            return request[: rng.randrange(1, len(request))]
        case 2:
            flipped = bytearray(request)
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
            return bytes(flipped)
        case 3:
            return (frames.FRAME_BYTES_MAX + rng.randrange(1, 1000)).to_bytes(4, "big") + b"x" * 50
        case 4:
            return frames.encode(rng.randrange(11, 200), rng.randrange(10)) + request
        case 5:
            body = b"\x95\x00\x01\xa1x\x00" + b"\x91" * rng.randrange(5000)
            return len(body).to_bytes(4, "big") + body
        case _:
            return b"\x16\x03\x01" + rng.randbytes(rng.randrange(0, 200))


@pytest.mark.parametrize("keys", [True, False])
def test_garbage_reaches_no_handler_and_leaves_nothing_behind(keys: bool) -> None:
    async def scene(hub: Hub) -> None:
        rng = random.Random(7)
        friend = await dial_tcp(hub.address, member() if keys else None)
        for _ in range(150):
            await send(hub, garbage(rng), rng.randrange(1, 4))
        if keys:
            assert hub.reached == 0
        assert (await friend.call(ECHO, Blob(data=b"still"), timeout_s=5)).data == b"still"
        await asyncio.sleep(0.05)
        assert len(hub.listener.connections) == 1
        await friend.close()

    with_hub(member() if keys else None, scene)


def test_garbage_from_a_member_ends_its_connection_only() -> None:
    async def scene(hub: Hub) -> None:
        rng = random.Random(8)
        friend = await dial_tcp(hub.address, member())
        for _ in range(60):
            data = garbage(rng) + b"\xff\xff\xff\xff"
            await send(hub, data, rng.randrange(1, 4), context=member().client_context())
        assert (await friend.call(ECHO, Blob(data=b"still"), timeout_s=5)).data == b"still"
        await friend.close()

    with_hub(member(), scene)


def test_a_first_frame_may_not_be_large_in_a_plain_cluster_and_later_ones_may() -> None:
    async def scene(hub: Hub) -> None:
        large = bytes(frames.encode(frames.REQUEST, 1, ECHO.name, 0, Blob(data=b"x" * frames.FIRST_FRAME_BYTES_MAX)))
        assert await send(hub, large) == b""
        assert hub.reached == 0
        friend = await dial_tcp(hub.address)
        assert len((await friend.call(ECHO, Blob(data=b"x" * 5_000_000), timeout_s=5)).data) == 5_000_000
        await friend.close()

    with_hub(None, scene)


def test_a_recorded_conversation_opens_nothing_when_it_is_played_again() -> None:
    async def scene(hub: Hub) -> None:
        recorded = bytearray()
        host, port = hub.address.split(":")

        async def tap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection(host, int(port))

            async def answers_back() -> None:
                while data := await there.read(65_536):
                    writer.write(data)
                writer.close()

            task = asyncio.ensure_future(answers_back())
            while data := await reader.read(65_536):
                recorded.extend(data)
                back.write(data)
            back.close()
            await task

        server = await asyncio.start_server(tap, "127.0.0.1", 0)
        friend = await dial_tcp(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", member())
        await friend.call(ECHO, Blob(data=b"secret"), timeout_s=5)
        await friend.close()
        server.close()
        assert hub.reached == 1
        assert b"secret" not in recorded
        for _ in range(3):
            await send(hub, bytes(recorded))
        assert hub.reached == 1

    with_hub(member(), scene)


def test_who_says_nothing_is_dropped_in_time_and_a_crowd_of_them_costs_a_bounded_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "HANDSHAKE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(tcp, "SILENT_MAX", 20)

    async def scene(hub: Hub) -> None:
        crowd = [socket.create_connection(("127.0.0.1", hub.listener.port)) for _ in range(60)]
        friend = await dial_tcp(hub.address, member())
        assert hub.refused[reasons.PUSHED_OUT] >= 40
        for sock in crowd:
            sock.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=sock)
            try:
                assert await reader.read() == b""
            except ConnectionError:
                pass
            writer.close()
        assert hub.refused[reasons.SILENT] <= 20
        assert (await friend.call(ECHO, Blob(data=b"x"), timeout_s=5)).data == b"x"
        await friend.close()

    with_hub(member(), scene)


def test_one_address_has_so_many_connections_and_others_are_not_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "CONNECTIONS_PER_CLIENT_MAX", 5)

    async def scene(hub: Hub) -> None:
        friends = [await dial_tcp(hub.address, member()) for _ in range(5)]
        with pytest.raises(errors.ChowkError):
            await dial_tcp(hub.address, member())
        assert hub.refused[reasons.TOO_MANY] == 1
        elsewhere = socket.socket()
        elsewhere.bind(("127.0.0.2", 0))
        elsewhere.connect(("127.0.0.1", hub.listener.port))
        await friends.pop().close()
        friends.append(await dial_tcp(hub.address, member()))
        assert hub.refused[reasons.TOO_MANY] == 1
        elsewhere.close()
        for friend in friends:
            await friend.close()

    with_hub(member(), scene)


def test_connections_are_capped_altogether(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "CONNECTIONS_MAX", 3)

    async def scene(hub: Hub) -> None:
        friends = [await dial_tcp(hub.address, member()) for _ in range(3)]
        with pytest.raises(errors.Unavailable):
            await dial_tcp(hub.address, member())
        for friend in friends:
            await friend.close()
        await asyncio.sleep(0.01)
        await (await dial_tcp(hub.address, member())).close()

    with_hub(member(), scene)


def test_an_agent_an_hour_or_a_day_off_works_and_one_of_another_week_does_not() -> None:
    async def scene(hub: Hub) -> None:
        for off_s in (-3600.0, 3600.0, 0.9 * BACKDATED_S, -0.9 * LIFE_S):
            connection = await dial_tcp(hub.address, member(wall_s=off_s))
            await connection.close()
        for off_s in (1.1 * BACKDATED_S, -1.1 * LIFE_S):
            with pytest.raises(errors.ChowkError):
                await dial_tcp(hub.address, member(wall_s=off_s))

    with_hub(member(), scene)


def test_a_member_of_another_datacenter_or_an_agent_posing_as_server_is_refused() -> None:
    async def scene(hub: Hub) -> None:
        with pytest.raises(errors.PermissionDenied, match="is of datacenter"):
            await dial_tcp(hub.address, member(datacenter="dc2"))
        with pytest.raises(errors.PermissionDenied, match="is no server"):
            await dial_tcp(hub.address, member())
        connection = await dial_tcp(hub.address, member(), expect_server=False)
        assert connection.peer.role == AGENT
        await connection.close()

    with_hub(member(role=AGENT), scene)


@pytest.mark.parametrize("uri", ["chowk://dc1/server/x", "spiffe://dc1/server/7f-1/n", "chowk://dc1/root/7f-1/n"])
def test_a_certificate_that_names_no_member_is_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(hub: Hub) -> None:
        stranger = member()
        stranger.holder = Holder("dc1", SERVER, "7f1e-1", "n1")
        monkeypatch.setattr(Holder, "uri", property(lambda _self: uri))
        context = stranger.client_context()
        monkeypatch.undo()
        assert await send(hub, bytes(frames.encode(frames.PING, 0)), context=context) == b""
        assert hub.refused == {reasons.WRONG_MEMBER: 1}

    with_hub(member(), scene)


def test_every_holder_of_a_key_has_the_same_authority_and_no_other_key_has_it() -> None:
    ours, theirs, other = Authority(b"k" * 32), Authority(b"k" * 32), Authority(b"k" * 31 + b"j")
    assert ours.certificate.public_key() == theirs.certificate.public_key()
    assert ours.certificate.tbs_certificate_bytes == theirs.certificate.tbs_certificate_bytes
    assert ours.certificate.subject != other.certificate.subject
    assert ours.certificate.public_key() != other.certificate.public_key()


def test_certificates_are_renewed_at_half_life_and_when_the_clock_was_set_back() -> None:
    clock = ManualClock(wall=1_800_000_000.0)
    identity = ClusterIdentity((KEY,), SERVER, "7f1e-1", "n1", "dc1", clock)
    first = identity.client_context()
    clock.jump_wall(LIFE_S / 2 - 1)
    assert identity.client_context() is first
    clock.jump_wall(1)
    second = identity.client_context()
    assert second is not first
    clock.jump_wall(-LIFE_S)
    assert identity.client_context() is not second


def test_the_last_key_cannot_be_taken_away() -> None:
    identity = member()
    with pytest.raises(ValueError, match="cannot be taken away"):
        identity.set_keys(())
    assert identity.encrypted


def test_a_rotation_cuts_no_connection_and_shuts_the_old_key_out_at_its_end() -> None:
    new = base64.b64encode(os.urandom(32)).decode()

    async def scene(hub: Hub) -> None:
        identity = hub.listener._identity
        assert identity is not None
        old_friend = await dial_tcp(hub.address, member())
        identity.set_keys((KEY, new))
        await (
            await dial_tcp(hub.address, ClusterIdentity((KEY, new), AGENT, "a-1", "a", "dc1", SystemClock()))
        ).close()
        identity.set_keys((new, KEY))
        await (
            await dial_tcp(hub.address, ClusterIdentity((KEY, new), AGENT, "a-1", "a", "dc1", SystemClock()))
        ).close()
        identity.set_keys((new,))
        with pytest.raises(errors.PermissionDenied, match="the gossip keys differ"):
            await dial_tcp(hub.address, member())
        assert (await old_friend.call(ECHO, Blob(data=b"x"), timeout_s=5)).data == b"x"
        await old_friend.close()

    with_hub(member(), scene)


def test_a_peer_that_sends_more_than_its_credit_is_dropped() -> None:
    async def main() -> None:
        async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(frames.encode(frames.PONG, 0))
            await reader.read(100)
            for _ in range(200):
                writer.write(frames.encode(frames.ITEM, 1, "", 0, Blob()))
            while await reader.read(65_536):
                pass
            writer.close()

        server = await asyncio.start_server(rude, "127.0.0.1", 0)
        connection = await dial_tcp(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        stream = connection.stream(FLOOD, Empty())
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.wait_for(connection.wait_closed(), 5)
        assert (await waiting).data == b""
        with pytest.raises(errors.Unavailable):
            [item async for item in stream]
        server.close()

    asyncio.run(main())


def test_who_asks_and_never_reads_is_dropped_and_costs_a_bounded_amount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "OUTBOX_BYTES_MAX", 3_000_000)

    async def scene(hub: Hub) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.listener.port, limit=1)
        request = bytes(frames.encode(frames.REQUEST, 1, ECHO.name, 0, Blob(data=b"x" * 60_000)))
        for number in range(400):
            writer.write(frames.encode(frames.REQUEST, number, ECHO.name, 0, Blob(data=b"x" * 60_000)))
            await asyncio.sleep(0)
        assert len(request) < frames.FIRST_FRAME_BYTES_MAX
        await asyncio.sleep(0.2)
        held = [each._outbox._transport.get_write_buffer_size() for each in hub.listener.connections]  # type: ignore[union-attr]
        assert sum(held) <= 3_000_000
        writer.transport.abort()
        del reader

    with_hub(None, scene)


def test_calls_of_one_peer_are_capped_by_its_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(answers.CALLS_IN_MAX, AGENT, 10)

    async def scene(hub: Hub) -> None:
        agent = await dial_tcp(hub.address, member(role=AGENT))
        hanging = [asyncio.ensure_future(agent.call(HANG, Empty(), timeout_s=20)) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(errors.TooManyRequests):
            await agent.call(HANG, Empty(), timeout_s=5)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        assert (await agent.call(ECHO, Blob(data=b"x"), timeout_s=5)).data == b"x"
        await agent.close()

    with_hub(member(), scene)


def test_an_idle_connection_is_asked_now_and_then_and_a_silent_peer_is_noticed() -> None:
    async def main() -> None:
        async def frozen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(frames.encode(frames.PONG, 0))
            while await reader.read(65_536):
                pass
            writer.close()

        server = await asyncio.start_server(frozen, "127.0.0.1", 0)
        connection: RpcConnection = await dial_tcp(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(errors.OutcomeUnknown):
            await connection.call(HANG, Empty(), timeout_s=20)
        assert 0.3 < time.monotonic() - started < 5
        server.close()

    asyncio.run(main())


def test_a_crowd_of_silent_ones_pushes_out_no_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "SILENT_MAX", 10)

    async def scene(hub: Hub) -> None:
        friend = await dial_tcp(hub.address, member())
        crowd = []
        for _ in range(40):
            crowd.append(socket.create_connection(("127.0.0.1", hub.listener.port)))
            await friend.call(ECHO, Blob(data=b"x"), timeout_s=5)
        assert hub.refused[reasons.PUSHED_OUT] == 30
        for sock in crowd:
            sock.close()
        await friend.close()

    with_hub(member(), scene)
