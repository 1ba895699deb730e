"""The upstream's HTTP listener: routes, splits, rewrites, retries, timeouts, failover, mirrors, faults, fallbacks."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
import uvloop

from chowk.connect.snapshot import (
    Balance,
    FaultPlan,
    HashKey,
    HttpRoute,
    Limits,
    MirrorPlan,
    Outlier,
    Retries,
    Split,
    StickyKey,
)
from chowk.core.records.traffic import Fallback, HeaderEdits, HeaderMatch, HttpMatch, HttpRedirect, QueryMatch
from support.http_rig import Client, HttpApp, HttpRig, once, to
from support.mesh_rig import MeshCA, until
from support.proxy_rig import free_port


def says(status: int, *, times: int = 1_000_000, headers: str = ""):
    """Answers with `status` so often, then 200."""
    left = [times]

    async def script(head, reader, writer):
        left[0] -= 1
        code = status if left[0] >= 0 else 200
        writer.write(f"HTTP/1.1 {code} X\r\n{headers}Content-Length: 2\r\n\r\nok".encode())

    return script


async def silent(head, reader, writer):
    await asyncio.Event().wait()


async def slams(head, reader, writer):
    writer.close()


async def instances(rig: HttpRig) -> tuple[HttpApp, HttpApp, list[int]]:
    """Two instances of `api`, each with its application and sidecar."""
    two = await HttpApp("two").start()
    ports = [await rig.serve_http("api"), await rig.serve_http("api-b", app=two)]
    rig.agent.publish(msgspec.structs.replace(rig.agent.snapshots["api-b-proxy"], service="api"))
    second = rig.proxies["api-b"].state
    await until(lambda: second.credentials.leaf.service == "api" if second.credentials else False, "a leaf of api")
    return rig.http, two, ports


def test_requests_are_routed_by_path_header_query_and_method_rewritten_and_edited(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            other = await HttpApp("other").start()
            clusters = {"api": [await rig.serve_http()], "v2": [await rig.serve_http("v2", app=other)]}
            edits = HeaderEdits(set={"x-team": "blue"}, remove=("x-secret",))
            routes = (
                to("v2", "old", match=HttpMatch(path_prefix="/old/"), prefix_rewrite="/new/"),
                to("v2", "beta", match=HttpMatch(header=(HeaderMatch(name="x-plan", exact="premium"),))),
                to("v2", "query", match=HttpMatch(query_param=(QueryMatch(name="v", exact="2"),))),
                to("v2", "writes", match=HttpMatch(methods=("PUT",)), request_headers=edits, response_headers=edits),
                HttpRoute(
                    name="moved",
                    match=HttpMatch(path_exact="/moved"),
                    redirect=HttpRedirect(path="/there", status=308),
                ),
                to("api"),
            )
            client = await Client.open(await rig.routed(routes, clusters))
            assert (await client.ask("/x")).body == b"app /x 0"
            assert (await client.ask("/old/a?b=1")).body == b"other /new/a?b=1 0"
            assert (await client.ask("/x", headers="x-plan: premium\r\n")).body == b"other /x 0"
            assert (await client.ask("/x?v=2")).body == b"other /x?v=2 0"
            got = await client.ask("/x", "PUT", "x-secret: 1\r\n", b"abc")
            assert (got.body, got.header("x-team")) == (b"other /x 3", "blue")
            assert (other.header("x-team"), other.header("x-secret")) == ("blue", None)
            got = await client.ask("/moved?x=1")
            assert (got.status, got.header("location")) == (308, "/there?x=1")
            totals = {edge.route: sum(edge.requests) for edge in rig.proxies["web"].describe().edges}
            assert totals == {"old": 1, "beta": 1, "query": 1, "writes": 1, "moved": 1, "default": 1}
            client.close()
            other.close()

    uvloop.run(run())


def test_splits_follow_their_weights_and_stick_where_told(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            canary = await HttpApp("canary").start()
            clusters = {"api": [await rig.serve_http()], "v2": [await rig.serve_http("v2", app=canary)]}
            splits = (Split(cluster="v2", weight=2000), Split(cluster="api", weight=8000))
            route = HttpRoute(name="default", splits=splits)
            port = await rig.routed((route,), clusters)
            client = await Client.open(port)
            for _ in range(200):
                assert (await client.ask()).status == 200
            assert 15 <= len(canary.heads) <= 70
            sticky = msgspec.structs.replace(route, sticky=StickyKey(cookie="ver", ttl_s=60.0))
            rig.route(port, (sticky,), clusters)
            await until(lambda: rig.proxies["web"].state.snapshot.upstreams[0].routes[0].sticky, "sticky")
            for _ in range(10):
                first = await client.ask()
                cookie = (first.header("set-cookie") or "").split(";")[0]
                assert cookie.startswith("ver=")
                for _ in range(5):
                    again = await client.ask(headers=f"Cookie: {cookie}\r\n")
                    assert (again.body, again.header("set-cookie")) == (first.body, None)
            client.close()
            canary.close()

    uvloop.run(run())


def test_a_hash_key_binds_callers_and_a_missing_cookie_is_made(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            _one, two, ports = await instances(rig)
            keys = (HashKey(source="cookie", name="session", makes_cookie=True, cookie_ttl_s=60.0, cookie_path="/"),)
            port = await rig.routed((to("api"),), {"api": ports}, balance=Balance(policy="ring_hash", hash_keys=keys))
            client = await Client.open(port)
            seen = set()
            for _ in range(20):
                first = await client.ask()
                cookie = first.header("set-cookie")
                assert cookie is not None
                assert "Path=/; Max-Age=60; HttpOnly" in cookie
                seen.add(first.body)
                for _ in range(3):
                    again = await client.ask(headers=f"Cookie: {cookie.split(';')[0]}\r\n")
                    assert (again.body, again.header("set-cookie")) == (first.body, None)
            assert len(seen) == 2
            client.close()
            two.close()

    uvloop.run(run())


def test_a_failed_answer_is_tried_on_another_instance(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            one, two, ports = await instances(rig)
            retries = Retries(attempts=2, conditions=("5xx",))
            route = to("api", retries=retries)
            port = await rig.routed((route,), {"api": ports}, outlier=Outlier(max_failures=0))
            one.script = says(500)
            client = await Client.open(port)
            for _ in range(20):
                got = await client.ask()
                assert (got.status, got.body) == (200, b"two / 0")
            assert one.heads
            edge = rig.proxies["web"].describe().edges[0]
            assert edge.retries == len(one.heads)
            two.script = says(500)
            got = await client.ask()
            assert (got.status, got.error) == (500, None)
            client.close()
            two.close()

    uvloop.run(run())


def test_an_instance_whose_application_is_gone_is_passed_over_though_no_retry_is_asked_for(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            one, two, ports = await instances(rig)
            port = await rig.routed((to("api"),), {"api": ports}, outlier=Outlier(max_failures=0))
            one.close()
            client = await Client.open(port)
            for _ in range(20):
                assert (await client.ask(method="POST", body=b"pay 10")).body == b"two / 6"
            assert rig.proxies["web"].describe().edges[0].retries == 0
            two.close()
            got = await client.ask()
            assert (got.status, got.error) == (503, "application-unreachable")
            client.close()

    uvloop.run(run())


def test_many_connections_of_the_application_share_the_few_that_an_upstream_may_have(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            clusters = {"api": [await rig.serve_http()]}
            port = await rig.routed((to("api"),), clusters, limits=Limits(connections_max=2))
            clients = [await Client.open(port) for _ in range(10)]
            for got in await asyncio.gather(*(client.ask() for client in clients)):
                assert got.status == 200
            assert rig.proxies["api"].inbound.tally.total == 2
            for client in clients:
                client.close()

    uvloop.run(run())


def test_what_may_have_done_work_is_not_sent_twice(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            retries = Retries(attempts=3, conditions=("5xx", "reset", "gateway-error"))
            port = await rig.routed((to("api", retries=retries),), {"api": [await rig.serve_http()]})
            rig.http.script = says(503)
            assert (await once(port, method="POST", body=b"pay")).status == 503
            assert len(rig.http.heads) == 1
            rig.http.script = slams
            assert (await once(port, method="POST", body=b"pay")).status == 502
            assert len(rig.http.heads) == 2
            assert (await once(port, method="PUT", body=b"set")).status == 502
            assert len(rig.http.heads) > 3

    uvloop.run(run())


def test_what_surely_did_no_work_is_sent_elsewhere_whatever_it_is(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            one, two, ports = await instances(rig)
            retries = Retries(attempts=2, conditions=("gateway-error",))
            port = await rig.routed((to("api", retries=retries),), {"api": ports}, outlier=Outlier(max_failures=0))
            one.close()
            client = await Client.open(port)
            for _ in range(10):
                assert (await client.ask(method="POST", body=b"pay 10")).body == b"two / 6"
            assert two.bodies == [b"pay 10"] * 10
            client.close()
            two.close()

    uvloop.run(run())


@pytest.mark.parametrize("size", [10_000, 500_000])
def test_a_body_is_sent_again_whole_or_not_at_all(size, tmp_path):
    async def run():
        async def script(head, reader, writer):
            await reader.readexactly(size)
            writer.write(b"HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\nno")

        async with HttpRig(tmp_path) as rig:
            one, two, ports = await instances(rig)
            retries = Retries(attempts=1, conditions=("5xx",))
            port = await rig.routed((to("api", retries=retries),), {"api": ports}, outlier=Outlier(max_failures=0))
            one.script = script
            body = bytes(range(250)) * (size // 250)
            for _ in range(8):
                got = await once(port, method="PUT", body=body)
                if one.heads:
                    break
            assert got.status == (200 if size < 65536 else 503)
            assert all(each == body for each in two.bodies)
            two.close()

    uvloop.run(run())


def test_retries_stay_within_their_budget(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            retries = Retries(attempts=5, conditions=("5xx",))
            limits = Limits(retry_percent=20.0, retries_per_s_min=0.0)
            clusters = {"api": [await rig.serve_http()]}
            port = await rig.routed((to("api", retries=retries),), clusters, limits=limits)
            rig.http.script = says(500)
            client = await Client.open(port)
            for _ in range(50):
                assert (await client.ask()).status == 500
            assert 55 <= len(rig.http.heads) <= 60
            client.close()

    uvloop.run(run())


def test_a_try_that_takes_too_long_is_made_elsewhere_within_the_time_of_the_whole(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            one, two, ports = await instances(rig)
            retries = Retries(attempts=1, conditions=("reset",))
            route = to("api", retries=retries, try_timeout_s=0.2, timeout_s=2.0)
            port = await rig.routed((route,), {"api": ports})
            one.script = silent
            began = time.monotonic()
            answers = [await once(port) for _ in range(4)]
            assert [got.body for got in answers] == [b"two / 0"] * 4
            assert time.monotonic() - began < 1.9
            two.script = silent
            got = await once(port)
            assert (got.status, got.error) == (504, "try-timeout")
            two.close()

    uvloop.run(run())


def test_a_request_that_takes_too_long_is_answered_504_and_its_connection_is_not_used_again(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.routed((to("api", timeout_s=0.3),), {"api": [await rig.serve_http()]})
            rig.http.script = silent
            client = await Client.open(port)
            got = await client.ask()
            assert (got.status, got.error) == (504, "request-timeout")
            rig.http.script = None
            assert (await client.ask("/next")).body == b"app /next 0"
            client.close()

    uvloop.run(run())


def test_nothing_moving_for_the_idle_time_of_a_route_ends_the_request(tmp_path):
    async def run():
        async with HttpRig(tmp_path, http_look_s=0.05) as rig:
            port = await rig.routed((to("api", idle_timeout_s=0.3),), {"api": [await rig.serve_http()]})
            rig.http.script = silent
            got = await once(port)
            assert (got.status, got.error) == (504, "stalled")

    uvloop.run(run())


def test_dead_instances_are_passed_over_and_without_any_the_fallback_answers(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            dead, alive = free_port(), await rig.serve_http()
            port = await rig.routed((to("api"),), {"api": [dead, alive]})
            client = await Client.open(port)
            for _ in range(20):
                assert (await client.ask(method="POST", body=b"x")).status == 200
            rig.route(port, (to("api"),), {"api": [dead]})
            await until(lambda: len(rig.proxies["web"].state.snapshot.targets["api"].endpoints) == 1, "followed")
            got = await client.ask()
            assert (got.status, got.error) == (503, "unreachable")
            fallback = Fallback(status=200, body="[]", headers={"content-type": "application/json"})
            rig.route(port, (to("api", fallback=fallback),), {"api": []})
            await until(lambda: not rig.proxies["web"].state.snapshot.targets["api"].endpoints, "followed")
            got = await client.ask()
            assert (got.status, got.body, got.error) == (200, b"[]", "no-healthy-instance")
            assert got.header("content-type") == "application/json"
            client.close()

    uvloop.run(run())


def test_an_instance_of_another_identity_gets_nothing(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.use("web", "api", [await rig.serve_http("impostor")], protocol="http")
            got = await once(port, method="POST", body=b"secret")
            assert (got.status, got.error) == (503, "unreachable")
            assert rig.http.heads == []

    uvloop.run(run())


def test_an_instance_that_fails_is_left_out_for_a_while(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            one, two, ports = await instances(rig)
            outlier = Outlier(max_failures=3, ejection_s=60.0, ejected_percent_max=50)
            port = await rig.routed(
                (to("api"),), {"api": ports}, outlier=outlier, balance=Balance(policy="round_robin")
            )
            one.script = says(500)
            client = await Client.open(port)
            statuses = [(await client.ask()).status for _ in range(40)]
            assert statuses.count(500) == 3
            assert statuses[10:] == [200] * 30
            client.close()
            two.close()

    uvloop.run(run())


def test_breakers_refuse_at_once_or_let_a_few_wait(tmp_path):
    async def run():
        gate = asyncio.Event()

        async def script(head, reader, writer):
            await gate.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        async with HttpRig(tmp_path) as rig:
            clusters = {"api": [await rig.serve_http()]}
            port = await rig.routed((to("api"),), clusters, limits=Limits(connections_max=2, pending_max=3))
            rig.http.script = script
            asked = [asyncio.ensure_future(once(port)) for _ in range(2)]
            await until(lambda: len(rig.http.heads) == 2, "both connections are in use")
            asked += [asyncio.ensure_future(once(port)) for _ in range(3)]
            live = next(iter(rig.proxies["web"].upstreams.values())).clusters.get("api")
            await until(lambda: live.breakers.pending.inside == 3, "three wait")
            got = await once(port)
            assert (got.status, got.error) == (503, "circuit-open")
            gate.set()
            assert [(await each).status for each in asked] == [200] * 5
            assert rig.proxies["api"].inbound.tally.total == 2

    uvloop.run(run())


def test_at_most_so_many_requests_are_in_work(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            clusters = {"api": [await rig.serve_http()]}
            port = await rig.routed((to("api"),), clusters, limits=Limits(requests_max=1))
            rig.http.script = silent
            first = await Client.open(port)
            first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: rig.http.heads, "in work")
            got = await once(port)
            assert (got.status, got.error) == (503, "circuit-open")
            first.close()
            rig.http.script = None
            await until(lambda: not rig.proxies["web"].state.http.served, "gone")
            assert (await once(port)).status == 200

    uvloop.run(run())


def test_copies_go_to_the_mirror_and_harm_nobody(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            shadow = await HttpApp("shadow").start()
            clusters = {"api": [await rig.serve_http()], "v2": [await rig.serve_http("v2", app=shadow)]}
            port = await rig.routed((to("api", mirror=MirrorPlan(cluster="v2")),), clusters)
            client = await Client.open(port)
            assert (await client.ask("/m", "POST", body=b"payload")).body == b"app /m 7"
            await until(lambda: shadow.bodies == [b"payload"], "mirrored")
            assert shadow.header("host") == "api-shadow"
            big = b"b" * 300_000
            assert (await client.ask("/big", "POST", body=big)).body == b"app /big 300000"
            web = next(iter(rig.proxies["web"].upstreams.values())).http
            assert web.mirrors_dropped_total == 1
            shadow.script = silent
            for _ in range(200):
                assert (await client.ask()).status == 200
            assert web.mirrors.inside == web.mirrors.limit
            assert web.mirrors_dropped_total == 1 + 200 - web.mirrors.limit
            shadow.close()
            assert (await client.ask()).status == 200
            client.close()

    uvloop.run(run())


def test_faults_delay_and_abort_until_they_expire(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            clusters = {"api": [await rig.serve_http()]}
            plan = FaultPlan(
                delay_percent=100.0, delay_s=0.3, abort_percent=100.0, abort_status=418, expires_s=time.time() + 60
            )
            port = await rig.routed((to("api", fault=plan),), clusters)
            began = time.monotonic()
            got = await once(port)
            assert (got.status, got.error) == (418, "fault-injected")
            assert time.monotonic() - began >= 0.3
            assert rig.http.heads == []
            rig.route(port, (to("api", fault=msgspec.structs.replace(plan, expires_s=time.time() - 1)),), clusters)
            web = rig.proxies["web"].state
            await until(lambda: web.snapshot.upstreams[0].routes[0].fault.expires_s < time.time(), "followed")
            began = time.monotonic()
            assert (await once(port)).status == 200
            assert time.monotonic() - began < 0.25

    uvloop.run(run())


def test_routes_change_between_two_requests_of_one_connection(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            other = await HttpApp("other").start()
            clusters = {"api": [await rig.serve_http()], "v2": [await rig.serve_http("v2", app=other)]}
            port = await rig.routed((to("api"),), clusters)
            client = await Client.open(port)
            assert (await client.ask()).body == b"app / 0"
            rig.route(port, (to("v2", "canary"),), clusters)
            web = rig.proxies["web"].state
            await until(lambda: web.snapshot.upstreams[0].routes[0].name == "canary", "followed")
            assert (await client.ask()).body == b"other / 0"
            rig.route(port, (to("v2", "canary"),), {"v2": clusters["v2"]})
            await until(lambda: len(web.snapshot.targets) == 1, "followed")
            assert (await client.ask()).body == b"other / 0"
            await until(lambda: len(web.http.pools) == 1, "the pool of what is gone is gone")
            client.close()
            other.close()

    uvloop.run(run())


def test_a_request_no_route_takes_is_answered_404(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            routes = (to("api", match=HttpMatch(path_prefix="/api")),)
            port = await rig.routed(routes, {"api": [await rig.serve_http()]})
            got = await once(port, "/other")
            assert (got.status, got.error) == (404, "no-route")

    uvloop.run(run())


def test_idle_connections_to_instances_are_closed_after_a_while(tmp_path):
    async def run():
        async with HttpRig(tmp_path, http_pool_idle_s=0.2, http_app_idle_s=0.1, http_look_s=0.05) as rig:
            port = await rig.pair_http()
            client = await Client.open(port)
            assert (await client.ask()).status == 200
            await until(lambda: rig.proxies["api"].inbound.tally.open == 0, "closed")
            await until(lambda: not rig.http._writers, "and to the application")
            assert (await client.ask()).status == 200
            client.close()

    uvloop.run(run())


def test_a_crowd_of_newcomers_shares_few_connections_and_none_fails(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            answers = await asyncio.gather(*(once(port, f"/{number}") for number in range(400)))
            assert [got.body for got in answers] == [b"app /%d 0" % number for number in range(400)]
            assert rig.proxies["api"].inbound.tally.total < 200

    uvloop.run(run())


def test_requests_go_on_while_leaves_are_renewed_and_connections_with_them(tmp_path):
    async def run():
        async with HttpRig(tmp_path, MeshCA(ttl_s=2.0), http_look_s=0.05) as rig:
            client = await Client.open(await rig.pair_http())
            while len(rig.agent.signed) < 8:
                assert (await client.ask()).status == 200
            assert rig.proxies["api"].inbound.tally.total >= 2
            client.close()

    uvloop.run(run())


def test_a_cluster_fails_over_to_its_next_target_whose_identity_is_another(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            other = await HttpApp("other").start()
            clusters = {"api": [free_port()], "v2": [await rig.serve_http("v2", app=other)]}
            port = await rig.routed((to("api"),), clusters, targets=("api", "v2"))
            client = await Client.open(port)
            for _ in range(10):
                assert (await client.ask(method="POST", body=b"x")).body == b"other / 1"
            client.close()
            other.close()

    uvloop.run(run())


def test_an_upstream_that_is_taken_away_lets_its_requests_end(tmp_path):
    async def run():
        gate = asyncio.Event()

        async def script(head, reader, writer):
            await gate.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        async with HttpRig(tmp_path) as rig:
            port = await rig.pair_http()
            idle, busy = await Client.open(port), await Client.open(port)
            assert (await idle.ask()).status == 200
            rig.http.script = script
            busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: len(rig.http.heads) == 2, "in work")
            rig.agent.publish(msgspec.structs.replace(rig.agent.snapshots["web-proxy"], upstreams=()))
            assert await idle.ended() == b""
            gate.set()
            assert (await busy.answer()).body == b"ok"
            assert await busy.ended() == b""
            web = rig.proxies["web"].state
            await until(lambda: not web.http.served and not web.http.pools, "nothing is left")
            await until(lambda: web.connections.inside == 0, "and counted so")
            for client in (idle, busy):
                client.close()

    uvloop.run(run())


def test_observers_are_told_of_each_request_without_its_query(tmp_path):
    async def run():
        async with HttpRig(tmp_path) as rig:
            client = await Client.open(await rig.pair_http())
            seen = {name: [] for name in rig.proxies}
            for name, proxy in rig.proxies.items():
                proxy.state.observers.add(seen[name].append)
            trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
            await client.ask("/a?secret=1", "POST", trace + "x-request-id: r-1\r\n", b"abc")
            await until(lambda: seen["web"] and seen["api"], "told")
            (web,), (api,) = seen["web"], seen["api"]
            assert (web.direction, web.source, web.destination) == ("outbound", "web", "api")
            assert (api.direction, api.source, api.destination) == ("inbound", "web", "api")
            for record in (web, api):
                assert (record.method, record.path, record.status, record.reason) == ("POST", "/a", 200, "")
                assert (record.received_bytes, record.sent_bytes) == (3, len("app /a?secret=1 3"))
                assert (record.request_id, record.trace_id) == ("r-1", "0af7651916cd43dd8448eb211c80319c")
            assert web.endpoint == "n1/api-0"
            client.close()

    uvloop.run(run())
