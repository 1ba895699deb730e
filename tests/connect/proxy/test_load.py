"""Bounds: connections, handshakes, silence, slow readers, idleness."""

from __future__ import annotations

import asyncio
import resource
import socket
import struct

import pytest
import structlog
import uvloop

from support.mesh_rig import until
from support.proxy_rig import Rig, talk


def test_silent_connections_end_at_the_handshake_timeout_and_keep_nobody_out(tmp_path):
    async def run():
        async with Rig(tmp_path, handshake_timeout_s=1.0) as rig:
            port = await rig.pair()
            public = rig.agent.snapshots["api-proxy"].inbound.bind_port
            silent = [await asyncio.open_connection("127.0.0.1", public) for _ in range(700)]
            api = rig.proxies["api"].state
            assert await talk(port) == b"app:hello\nend"
            await until(lambda: api.connections.inside == 0, "they ended", 5)
            assert api.handshake_failures == 700
            for _reader, writer in silent:
                writer.close()

    uvloop.run(run())


@pytest.mark.parametrize("leave", ["closes", "half-closes", "resets"])
def test_a_health_check_that_ends_before_its_first_byte_is_no_failed_handshake(leave, tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            public = rig.agent.snapshots["api-proxy"].inbound.bind_port
            inbound = rig.proxies["api"].inbound
            before = inbound.tally.total
            with structlog.testing.capture_logs() as lines:
                for number in range(1, 4):
                    sock = socket.create_connection(("127.0.0.1", public))
                    await until(lambda: inbound.tally.total == before + number, "accepted")  # noqa: B023
                    if leave == "half-closes":
                        sock.shutdown(socket.SHUT_WR)
                    elif leave == "resets":
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        sock.close()
                    else:
                        sock.close()
                    await until(lambda: inbound.tally.open == 0, "its end was seen")
                    sock.close()
            assert {line["log_level"] for line in lines} <= {"debug"}
            assert inbound.state.handshake_failures == 0
            assert inbound.state.connections.inside == 0
            with socket.create_connection(("127.0.0.1", public)) as sock:
                sock.sendall(b"\x16")
                await until(lambda: inbound.state.handshakes.inside == 1, "a byte begins a handshake")
            await until(lambda: inbound.state.handshake_failures == 1, "and its end is a failure")
            assert await talk(port) == b"app:hello\nend"

    uvloop.run(run())


def test_ten_thousand_connections_are_bounded_and_the_listener_lives_on(tmp_path):
    async def run():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
        async with Rig(tmp_path, connections_max=500, handshake_timeout_s=30.0) as rig:
            port = await rig.pair()
            public = rig.agent.snapshots["api-proxy"].inbound.bind_port
            api = rig.proxies["api"].state
            sockets, most = [], 0
            for number in range(10_000):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", public))
                sockets.append(sock)
                if number % 200 == 0:
                    await asyncio.sleep(0)
                    most = max(most, api.connections.inside)
            await until(lambda: api.connections.refused_total > 9_000, "the rest was refused")
            assert most <= 500
            for sock in sockets:
                sock.close()
            await until(lambda: api.connections.inside == 0, "room again", 5)
            assert await talk(port) == b"app:hello\nend"
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    uvloop.run(run())


def test_a_crowd_of_handshakes_at_once_all_succeed(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            answers = await asyncio.gather(*(talk(port) for _ in range(300)))
            assert set(answers) == {b"app:hello\nend"}
            api = rig.proxies["api"].state
            assert (api.handshakes.inside, api.handshake_failures) == (0, 0)

    uvloop.run(run())


def test_a_reader_that_stops_reading_stops_the_writer_at_a_bounded_number_of_bytes(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            sent = 0

            async def flood(reader, writer):
                nonlocal sent
                writer.transport.set_write_buffer_limits(high=0)
                try:
                    while True:
                        writer.write(bytes(65536))
                        await writer.drain()
                        sent += 65536
                except OSError:
                    writer.close()

            rig.app.server.close()
            server = await asyncio.start_server(flood, "127.0.0.1", rig.app.port)
            sock = socket.create_connection(("127.0.0.1", port))
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.3)
            for proxy in rig.proxies.values():
                for pipe in proxy.state.pipes:
                    assert pipe.tls.transport.get_write_buffer_size() < 1_000_000
                    assert pipe.plain.transport.get_write_buffer_size() < 1_000_000
            sock.setblocking(False)
            got = 0
            while got < before + 1_000_000:
                try:
                    got += len(sock.recv(1_000_000))
                except BlockingIOError:
                    await asyncio.sleep(0.001)
            sock.close()
            await until(lambda: not rig.proxies["api"].state.pipes, "the end is passed on")
            server.close()

    uvloop.run(run())


def test_idle_connections_end_and_busy_ones_stay(tmp_path):
    async def run():
        async with Rig(tmp_path, idle_timeout_s=0.4) as rig:
            port = await rig.pair()
            idle_reader, idle = await asyncio.open_connection("127.0.0.1", port)
            reader, busy = await asyncio.open_connection("127.0.0.1", port)
            ended = asyncio.ensure_future(idle_reader.read())
            while not ended.done():
                busy.write(b"ping\n")
                assert await reader.readexactly(9) == b"app:ping\n"
                await asyncio.sleep(0.02)
            assert isinstance(ended.exception(), ConnectionResetError)
            busy.write(b"ping\n")
            assert await reader.readexactly(9) == b"app:ping\n"
            idle.close()
            busy.close()

    uvloop.run(run())
