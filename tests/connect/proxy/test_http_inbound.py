"""The public HTTP listener: intentions for each request, limits, priorities, what the application is told."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import uvloop

from chowk.core.records.config_entry import HttpPermission, Permission
from chowk.core.records.intention import Intention, precedence
from chowk.core.records.traffic import (
    CallerRate,
    Concurrency,
    Fallback,
    HeaderMatch,
    InstanceRate,
    RateLimits,
    RouteRate,
)
from support.http_rig import Client, HttpApp, HttpRig, once
from support.mesh_rig import until


def judged(*permissions: Permission, action: str = "") -> Intention:
    return Intention(
        source_name="web",
        destination_name="api",
        action=action,
        permissions=permissions,
        precedence=precedence("web", "api"),
    )


def permission(action: str, **http: object) -> Permission:
    return Permission(action=action, http=HttpPermission(**http))


ADMIN = judged(permission("deny", path_prefix="/admin"), permission("allow", path_prefix="/"))


async def follow(rig: HttpRig, proxy_id: str, **changes: object) -> None:
    """Publish a changed snapshot and wait until it is followed."""
    snapshot = msgspec.structs.replace(rig.agent.snapshots[proxy_id], **changes)
    rig.agent.publish(snapshot)
    version = rig.agent.snapshots[proxy_id].version
    proxy = rig.proxies[proxy_id.removesuffix("-proxy")]
    await until(lambda: proxy.state.snapshot.version == version, "followed")


@pytest.mark.parametrize(
    "target",
    [
        "/admin",
        "/admin/x",
        "/a%64min",
        "//admin",
        "/x/../admin",
        "/./admin",
        "/x/%2e%2e/admin",
        "/admin?x=/",
        "http://api/admin",
        "/%61dmin",
    ],
)
def test_a_denied_path_is_denied_however_it_is_spelt(target, tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http(intentions=(ADMIN,)))
            got = await client.ask(target)
            assert (got.status, got.error) == (403, "denied")
            assert rig.http.heads == []
            assert (await client.ask("/public")).body == b"app /public 0"
            api = rig.proxies["api"].describe()
            assert (api.inbound_denied_total, api.peers[0].denied) == (1, 1)
            client.close()

    uvloop.run(run())


def test_methods_and_headers_are_judged(tmp_path):
    async def run():
        rule = judged(
            permission("allow", path_prefix="/", methods=("GET",)),
            permission("allow", path_prefix="/", header=(HeaderMatch(name="x-role", exact="writer"),)),
        )
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http(intentions=(rule,), default_allow=False)
            assert (await once(port)).status == 200
            assert (await once(port, method="POST", body=b"x")).status == 403
            assert (await once(port, method="POST", headers="x-role: writer\r\n", body=b"x")).status == 200

    uvloop.run(run())


def test_an_intention_without_permissions_decides_by_who_calls(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http(intentions=(judged(action="deny"),))
            got = await once(port)
            assert (got.status, got.error) == (403, "denied")
            await follow(rig, "api-proxy", intentions=(judged(action="allow"),), default_allow=False)
            assert (await once(port)).status == 200
            await follow(rig, "api-proxy", intentions=())
            assert (await once(port)).status == 403

    uvloop.run(run())


def test_a_change_of_intentions_counts_for_open_connections_and_requests_in_work(tmp_path):
    async def run():
        async def script(head, reader, writer):
            if b"/wait" in head:
                await asyncio.Event().wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
            await asyncio.Event().wait()

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            kept, waiting, begun = [await Client.open(port) for _ in range(3)]
            assert (await kept.ask("/admin")).status == 200
            rig.http.script = script
            waiting.send(b"GET /admin/wait HTTP/1.1\r\nHost: a\r\n\r\n")
            begun.send(b"GET /admin/begun HTTP/1.1\r\nHost: a\r\n\r\n")
            await begun.reader.readuntil(b"begun")
            await until(lambda: len(rig.http.heads) == 3, "in work")
            rig.http.script = None
            await follow(rig, "api-proxy", intentions=(ADMIN,))
            assert (await waiting.answer()).status == 403
            with pytest.raises(ConnectionResetError):
                await begun.ended()
            assert (await kept.ask("/admin")).status == 403
            assert (await kept.ask("/public")).status == 200
            for client in (kept, waiting, begun):
                client.close()

    uvloop.run(run())


def test_a_tunnel_ends_when_what_it_was_asked_for_is_denied(tmp_path):
    async def run():
        async def script(head, reader, writer):
            writer.write(b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            await reader.read()
            writer.close()

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            rig.http.script = script
            ends = []
            for target in ("/admin/ws", "/public/ws"):
                client = await Client.open(port)
                client.send(
                    f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
                )
                assert (await client.answer()).status == 101
                ends.append(client)
            await follow(rig, "api-proxy", intentions=(ADMIN,))
            with pytest.raises(ConnectionResetError):
                await ends[0].ended()
            ends[1].send(b"still here")
            assert len(rig.proxies["api"].state.pipes) == 1
            for client in ends:
                client.close()

    uvloop.run(run())


def test_a_permissive_service_lets_through_and_counts_what_would_be_denied(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http(intentions=(ADMIN,), permissive=True)
            assert (await once(port, "/admin")).status == 200
            assert (await once(port, "/public")).status == 200
            api = rig.proxies["api"].describe()
            assert (api.peers[0].permitted, api.peers[0].denied, api.inbound_denied_total) == (1, 0, 0)

    uvloop.run(run())


def test_more_than_the_rate_is_answered_429_with_when_to_come_back(tmp_path):
    async def run():
        limits = RateLimits(
            instance_level=InstanceRate(
                routes=(RouteRate(path_prefix="/slow", requests_per_second=1, requests_max_burst=2),)
            ),
            callers=(CallerRate(name="*", requests_per_second=1, requests_max_burst=5),),
        )
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http(rate_limits=limits))
            assert [(await client.ask("/slow/x")).status for _ in range(3)] == [200, 200, 429]
            assert [(await client.ask("/fast")).status for _ in range(3)] == [200, 200, 200]
            got = await client.ask("/fast")
            assert (got.status, got.error, got.header("retry-after")) == (429, "rate-limited", "1")
            assert len(rig.http.heads) == 5
            client.close()

    uvloop.run(run())


def test_more_work_than_allowed_waits_a_little_and_is_shed_by_priority(tmp_path):
    async def run():
        gate = asyncio.Event()

        async def script(head, reader, writer):
            await gate.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        concurrency = Concurrency(
            limit=2,
            priority_header="x-priority",
            fallback=Fallback(status=529, body="come back later", headers={"x-fallback": "yes"}),
        )
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http(concurrency=concurrency)
            rig.http.script = script
            first = [asyncio.ensure_future(once(port, "/first")) for _ in range(2)]
            await until(lambda: len(rig.http.heads) == 2, "two in work")
            got = await once(port, "/late")
            assert (got.status, got.error, got.body) == (529, "overloaded", b"come back later")
            assert got.header("x-fallback") == "yes"
            waiting = asyncio.ensure_future(once(port, "/waits", headers="x-priority: critical\r\n"))
            admission = rig.proxies["api"].inbound.http.admission
            await until(lambda: admission.waiting == 1, "it waits")
            gate.set()
            assert [(await each).status for each in (*first, waiting)] == [200, 200, 200]
            assert admission.inside == 0

    uvloop.run(run())


def test_who_goes_while_it_waits_leaves_its_place(tmp_path):
    async def run():
        async def script(head, reader, writer):
            await asyncio.Event().wait()

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http(concurrency=Concurrency(limit=1))
            rig.http.script = script
            first = await Client.open(port)
            first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: rig.http.heads, "one in work")
            second = await Client.open(port)
            second.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            admission = rig.proxies["api"].inbound.http.admission
            await until(lambda: admission.waiting == 1, "it waits")
            second.close()
            first.close()
            await until(lambda: (admission.waiting, admission.inside) == (0, 0), "both are gone")

    uvloop.run(run())


def test_an_adaptive_limit_lets_ordinary_work_through(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http(concurrency=Concurrency(adaptive=True))
            clients = [await Client.open(port) for _ in range(4)]

            async def load(client: Client) -> None:
                for _ in range(100):
                    assert (await client.ask()).status == 200

            await asyncio.gather(*map(load, clients))
            assert rig.proxies["api"].inbound.http.admission.admitted_total == 400
            for client in clients:
                client.close()

    uvloop.run(run())


def test_an_application_that_is_not_there_is_said_to_be_so(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            rig.http.close()
            got = await client.ask(method="POST", body=b"x")
            assert (got.status, got.error) == (503, "application-unreachable")
            assert got.body.startswith(b"chowk: application-unreachable")
            client.close()

    uvloop.run(run())


def test_a_moved_application_is_used_from_the_next_request_on(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            assert (await client.ask()).body == b"app / 0"
            moved = await HttpApp("moved").start()
            inbound = msgspec.structs.replace(rig.agent.snapshots["api-proxy"].inbound, local_port=moved.port)
            await follow(rig, "api-proxy", inbound=inbound)
            assert (await client.ask()).body == b"moved / 0"
            await until(lambda: not rig.http._writers, "the old one is left")
            moved.close()
            client.close()

    uvloop.run(run())
