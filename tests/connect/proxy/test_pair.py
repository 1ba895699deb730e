"""Two proxies over real sockets: bytes, half-close, balance, failover, intentions, renewal, changes."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest
import uvloop

from chowk.connect.snapshot import InboundSnapshot
from chowk.core.records.intention import Intention, precedence
from support.mesh_rig import FakeAgent, MeshCA, client_snapshot, server_snapshot, until
from support.proxy_rig import App, Rig, free_port, refused, talk


def intention(source: str, action: str) -> Intention:
    return Intention(source_name=source, destination_name="api", action=action, precedence=precedence(source, "api"))


def test_bytes_and_half_close_pass_both_ways(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            assert await talk(port) == b"app:hello\nend"
            text = b"x" * 5_000_000 + b"\n"
            assert await talk(port, text) == b"app:" + text + b"end"
            web, api = rig.proxies["web"], rig.proxies["api"]
            await until(lambda: not web.state.pipes and not api.state.pipes, "pipes end by themselves")
            assert (web.state.connections.inside, api.state.connections.inside) == (0, 0)
            assert api.describe().bytes_received_total == len(text) + 6

    uvloop.run(run())


def test_much_data_right_behind_the_handshake_is_no_attack(tmp_path):
    """Bytes that come in one read with the end of the handshake, before its step had its turn."""

    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            line = rig.proxies["api"].state.line
            add = line.add
            line.add = lambda step: asyncio.get_running_loop().call_later(0.05, add, step)
            text = b"z" * 2_000_000 + b"\n"
            for _ in range(3):
                assert await talk(port, text) == b"app:" + text + b"end"

    uvloop.run(run())


def test_the_application_may_end_first_and_still_be_sent_to(tmp_path):
    async def run():
        got = asyncio.get_running_loop().create_future()

        async def app(reader, writer):
            writer.write(b"greeting")
            writer.write_eof()
            got.set_result(await reader.read())
            writer.close()

        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            server = await asyncio.start_server(app, "127.0.0.1", 0)
            inbound = InboundSnapshot(
                bind_address="127.0.0.1",
                bind_port=rig.agent.snapshots["api-proxy"].inbound.bind_port,
                local_port=server.sockets[0].getsockname()[1],
            )
            rig.agent.publish(msgspec.structs.replace(rig.agent.snapshots["api-proxy"], inbound=inbound))
            await until(lambda: rig.proxies["api"].state.snapshot.inbound == inbound, "new application")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b"greeting"
            for _ in range(20):
                writer.write(b"y" * 10_000)
                await writer.drain()
            writer.write_eof()
            assert await asyncio.wait_for(got, 5) == b"y" * 200_000
            writer.close()
            server.close()

    uvloop.run(run())


def test_a_reset_is_passed_on_as_a_reset_not_as_an_end(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"one\n")
            assert await reader.readexactly(8) == b"app:one\n"
            for pipe in list(rig.proxies["api"].state.pipes):
                pipe.plain.transport.abort()
                pipe.link_lost(pipe.plain)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()

    uvloop.run(run())


def test_a_change_of_intentions_closes_open_connections_and_refuses_new_ones(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"one\n")
            await reader.readexactly(8)
            allowed = rig.agent.snapshots["api-proxy"]
            rig.agent.publish(msgspec.structs.replace(allowed, intentions=(intention("web", "deny"),)))
            with pytest.raises(ConnectionResetError):
                async with asyncio.timeout(1.0):
                    await reader.read()
            assert await refused(port)
            assert rig.app.connections == 1
            assert rig.proxies["api"].inbound.denied_total == 2
            rig.agent.publish(msgspec.structs.replace(allowed, intentions=(intention("other", "deny"),)))
            await until(lambda: rig.proxies["api"].state.snapshot.intentions[0].source_name == "other", "allowed")
            assert await talk(port) == b"app:hello\nend"
            rig.agent.publish(msgspec.structs.replace(allowed, default_allow=False))
            await until(lambda: not rig.proxies["api"].state.snapshot.default_allow, "default deny")
            assert await refused(port)
            writer.close()

    uvloop.run(run())


def test_a_dead_instance_is_passed_over_and_avoided(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            dead = free_port()
            port = await rig.use("web", "api", [dead, await rig.serve("api"), dead])
            for _ in range(20):
                assert await talk(port) == b"app:hello\nend"
            assert 1 <= rig.proxies["web"].describe().upstreams[0].dial_failures_total <= 6

    uvloop.run(run())


def test_without_a_healthy_instance_the_application_sees_a_reset(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.use("web", "api", [])
            with pytest.raises(ConnectionResetError):
                await talk(port)

    uvloop.run(run())


def test_an_instance_that_never_answers_the_handshake_costs_one_timeout(tmp_path):
    async def run():
        async with Rig(tmp_path, handshake_timeout_s=0.3) as rig:
            silent = socket.create_server(("127.0.0.1", 0))
            port = await rig.use("web", "api", [silent.getsockname()[1], await rig.serve("api")])
            for _ in range(5):
                assert await talk(port) == b"app:hello\nend"
            silent.close()

    uvloop.run(run())


def test_leaves_are_renewed_while_a_connection_stays_open(tmp_path):
    async def run():
        async with Rig(tmp_path, MeshCA(ttl_s=2.0)) as rig:
            port = await rig.pair()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while len(rig.agent.signed) < 8:
                writer.write(b"ping\n")
                assert await asyncio.wait_for(reader.readexactly(9), 5) == b"app:ping\n"
                assert await talk(port) == b"app:hello\nend"
                await asyncio.sleep(0.02)
            writer.close()

    uvloop.run(run())


def test_an_expired_leaf_refuses_clearly_and_a_new_one_serves_again(tmp_path):
    async def run():
        async with Rig(tmp_path, MeshCA(ttl_s=1.0)) as rig:
            port = await rig.pair()
            rig.agent.signs = False
            web = rig.proxies["web"].state
            await until(lambda: not web.credentials.valid(web.clock.wall()), "the leaf expires")
            assert await refused(port)
            rig.ca.ttl_s = 3600.0
            rig.agent.signs = True
            await until(
                lambda: all(p.state.credentials.valid(p.state.clock.wall()) for p in rig.proxies.values()), "new"
            )
            await until(lambda: Rig.listening(rig.proxies["web"]), "listening")
            assert await talk(port) == b"app:hello\nend"

    uvloop.run(run())


def test_a_proxy_serves_on_without_its_agent_and_attaches_to_the_next(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            await rig.agent.close()
            for _ in range(5):
                assert await talk(port) == b"app:hello\nend"
            snapshots = rig.agent.snapshots
            rig.agent = FakeAgent(tmp_path / "proxies.sock", rig.ca)
            rig.agent._version = 100
            await rig.agent.start()
            await until(lambda: len(rig.agent.attached) == 2, "both attach", 2.0)
            assert sorted(attach.version for attach in rig.agent.attached) == [1, 2]
            denied = msgspec.structs.replace(snapshots["api-proxy"], default_allow=False)
            rig.agent.publish(denied)
            await until(lambda: not rig.proxies["api"].state.snapshot.default_allow, "follows the new agent")
            assert await refused(port)

    uvloop.run(run())


def test_a_taken_port_is_named_and_used_once_it_is_free(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            holder = socket.create_server(("127.0.0.1", 0))
            taken, public = holder.getsockname()[1], await rig.serve("api")
            rig.agent.publish(client_snapshot(rig.ca, "web", "api", taken, [public]))
            web = rig.run("web")
            await until(lambda: "is taken" in web.describe().upstreams[0].error if web.upstreams else False, "said")
            assert str(taken) in web.describe().upstreams[0].error
            holder.close()
            await until(lambda: Rig.listening(web), "listening")
            assert await talk(taken) == b"app:hello\nend"

    uvloop.run(run())


def test_a_changed_snapshot_touches_only_the_listeners_that_changed(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            web = rig.proxies["web"]
            before = rig.agent.snapshots["web-proxy"]
            kept = next(iter(web.listeners.values()))
            second = free_port()
            more = msgspec.structs.replace(before.upstreams[0], bind_port=second)
            rig.agent.publish(msgspec.structs.replace(before, upstreams=(*before.upstreams, more)))
            await until(lambda: len(web.listeners) == 2 and Rig.listening(web), "two upstreams")
            assert kept in web.listeners.values()
            assert await talk(second) == await talk(port) == b"app:hello\nend"
            rig.agent.publish(msgspec.structs.replace(before, upstreams=(more,)))
            await until(lambda: len(web.listeners) == 1, "one upstream")
            assert await refused(port)
            assert await talk(second) == b"app:hello\nend"

    uvloop.run(run())


def test_unix_sockets_serve_on_both_sides(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            path = tmp_path / "app.sock"
            app = App()
            server = await asyncio.start_unix_server(app._serve, str(path))
            inbound = InboundSnapshot(bind_address="127.0.0.1", bind_port=free_port(), local_socket_path=str(path))
            rig.agent.publish(server_snapshot(rig.ca, "api", 0, 0, inbound=inbound))
            await until(lambda: Rig.listening(rig.proxies["api"]) if rig.proxies else rig.run("api") is None, "api")
            local = tmp_path / "upstream.sock"
            snapshot = client_snapshot(rig.ca, "web", "api", 0, [inbound.bind_port])
            one = msgspec.structs.replace(snapshot.upstreams[0], bind_socket_path=str(local), bind_socket_mode="0640")
            rig.agent.publish(msgspec.structs.replace(snapshot, upstreams=(one,)))
            web = rig.run("web")
            await until(lambda: Rig.listening(web), "web")
            assert local.stat().st_mode & 0o777 == 0o640
            reader, writer = await asyncio.open_unix_connection(str(local))
            writer.write(b"hello\n")
            writer.write_eof()
            assert await reader.read() == b"app:hello\nend"
            writer.close()
            server.close()

    uvloop.run(run())


def test_a_stop_lets_what_runs_end_and_closes_what_is_quiet(tmp_path):
    async def run():
        async with Rig(tmp_path, drain_s=5.0, drain_quiet_s=0.3) as rig:
            port = await rig.pair()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            quiet_reader, quiet_writer = await asyncio.open_connection("127.0.0.1", port)
            for each_reader, each_writer in ((reader, writer), (quiet_reader, quiet_writer)):
                each_writer.write(b"one\n")
                await each_reader.readexactly(8)
            rig.agent.stop("web-proxy")
            await until(lambda: rig.proxies["web"]._stopping.is_set(), "told")
            quiet = asyncio.ensure_future(quiet_reader.read())
            while not quiet.done():
                writer.write(b"ping\n")
                assert await reader.readexactly(9) == b"app:ping\n"
                await asyncio.sleep(0.02)
            assert isinstance(quiet.exception(), ConnectionResetError)
            writer.write_eof()
            assert await reader.read() == b"end"
            await asyncio.wait_for(rig.runs["web"], 3)
            assert await refused(port)
            writer.close()
            quiet_writer.close()

    uvloop.run(run())
