"""The lookup that DNS asks, over a real server room: known, not known, unknown, and never unbounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from chowk.agent.client.pool import ServerClient
from chowk.agent.lookup import ADDRESS_TTL_S, ADDRESSES_MAX, ViewLookup
from chowk.agent.views.views import Views
from chowk.core import errors
from chowk.core.commands import DeletePreparedQuery, Deregister, Register, SetPreparedQuery
from chowk.core.events import Topic
from chowk.core.query_requests import QUERY_WRITE
from chowk.core.records.node import Node
from chowk.core.records.prepared_query import NAME_PREFIX_MATCH, PreparedQuery, QueryService, QueryTemplate
from chowk.core.records.service import KIND_CONNECT_PROXY, ConnectProxy, NodeService
from chowk.core.requests import CATALOG_WRITE
from chowk.core.runtime.clock import ManualClock
from support.fake_server import until
from support.server_rig import Rig, running_server


def register(node: str, address: str, service: str = "", **fields: object) -> Register:
    row = NodeService(id=service, service=service, port=80, **fields) if service else None  # type: ignore[arg-type]
    return Register(node=Node(node=node, address=address), service=row)


def with_lookup(path: Path, body: Callable[[Rig, ViewLookup, Views, ManualClock], Awaitable[None]]) -> None:
    async def run() -> None:
        clock = ManualClock()
        async with running_server(path) as rig:
            await rig.write(CATALOG_WRITE, register("n2", "127.0.0.2", "Web"))
            await rig.write(CATALOG_WRITE, register("n1", "127.0.0.1", "Web"))
            proxy = ConnectProxy(destination_service_name="Web")
            await rig.write(
                CATALOG_WRITE, register("n1", "127.0.0.1", "Web-proxy", kind=KIND_CONNECT_PROXY, proxy=proxy)
            )
            client = ServerClient(path / "server.sock")
            views = Views(client, clock)
            await client.start()
            await views.start()
            try:
                await asyncio.wait_for(body(rig, ViewLookup(views, client, "dc1", clock), views, clock), 20)
            finally:
                await views.close()
                await client.close()

    asyncio.run(run())


def test_an_answer_is_not_known_until_fetched_and_then_comes_from_memory_in_order(tmp_path: Path) -> None:
    async def body(_rig: Rig, lookup: ViewLookup, _views: Views, _clock: ManualClock) -> None:
        assert lookup.instances("Web", connect=False) is None
        assert lookup.generation("health", "Web") == 0
        await lookup.fetch("health", "Web")
        found = lookup.instances("Web", connect=False)
        assert found is not None
        assert [instance.key for instance in found] == ["n1/Web", "n2/Web"]
        assert lookup.instances("Web", connect=False) is found
        assert lookup.generation("health", "Web") > 0
        assert lookup.datacenters() == ("dc1",)

    with_lookup(tmp_path, body)


def test_names_compare_without_case(tmp_path: Path) -> None:
    async def body(_rig: Rig, lookup: ViewLookup, views: Views, _clock: ManualClock) -> None:
        await lookup.fetch("health", "wEB")
        found = lookup.instances("web", connect=False)
        assert found is not None
        assert len(found) == 2
        opened = len(views)
        lookup.instances("WEB", connect=False)
        assert len(views) == opened
        summary = lookup.summary("weB")
        assert summary is not None
        assert summary.service == "Web"
        await lookup.fetch("nodes", "")
        node = lookup.node("N1")
        assert node is not None
        assert node.address == "127.0.0.1"

    with_lookup(tmp_path, body)


def test_the_mesh_of_a_service_is_its_sidecars(tmp_path: Path) -> None:
    async def body(_rig: Rig, lookup: ViewLookup, _views: Views, _clock: ManualClock) -> None:
        await lookup.fetch("connect", "web")
        found = lookup.instances("web", connect=True)
        assert found is not None
        assert [instance.service.id for instance in found] == ["Web-proxy"]

    with_lookup(tmp_path, body)


def test_random_names_are_known_to_be_empty_and_open_no_view(tmp_path: Path) -> None:
    async def body(_rig: Rig, lookup: ViewLookup, views: Views, _clock: ManualClock) -> None:
        for number in range(300):
            for kind in ("health", "connect"):
                await lookup.fetch(kind, f"random-{number}")
                assert lookup.instances(f"random-{number}", connect=kind == "connect") == ()
                assert lookup.generation(kind, f"random-{number}") > 0
        assert len(views) == 1

    with_lookup(tmp_path, body)


def test_a_name_that_comes_and_goes_changes_its_generation_each_time(tmp_path: Path) -> None:
    async def body(rig: Rig, lookup: ViewLookup, _views: Views, _clock: ManualClock) -> None:
        await lookup.fetch("health", "db")
        generations = [lookup.generation("health", "db")]
        await rig.write(CATALOG_WRITE, register("n1", "127.0.0.1", "db"))
        await until(lambda: lookup.summary("db"))
        assert lookup.instances("db", connect=False) is None
        await lookup.fetch("health", "db")
        assert lookup.instances("db", connect=False)
        generations.append(lookup.generation("health", "db"))
        await rig.write(CATALOG_WRITE, Deregister(node="n1", service_id="db"))
        await until(lambda: lookup.summary("db") is None)
        assert lookup.instances("db", connect=False) == ()
        generations.append(lookup.generation("health", "db"))
        assert len(set(generations)) == 3

    with_lookup(tmp_path, body)


def test_nodes_are_unknown_before_and_known_after_a_fetch(tmp_path: Path) -> None:
    async def body(_rig: Rig, lookup: ViewLookup, _views: Views, _clock: ManualClock) -> None:
        assert not lookup.nodes_known()
        assert lookup.node("n1") is None
        await lookup.fetch("nodes", "n1")
        assert lookup.nodes_known()
        assert lookup.node("nobody") is None
        assert lookup.generation("nodes", "nobody") > 0

    with_lookup(tmp_path, body)


def test_an_address_is_looked_up_once_for_a_while_and_its_generation_stays_while_nothing_changes(
    tmp_path: Path,
) -> None:
    async def body(rig: Rig, lookup: ViewLookup, _views: Views, clock: ManualClock) -> None:
        assert lookup.by_address("127.0.0.1") is None
        await lookup.fetch("address", "127.0.0.1")
        known = lookup.by_address("127.0.0.1")
        assert known is not None
        assert [node.node for node in known[0]] == ["n1"]
        first = lookup.generation("address", "127.0.0.1")
        await clock.advance(ADDRESS_TTL_S + 1)
        assert lookup.by_address("127.0.0.1") is None
        await lookup.fetch("address", "127.0.0.1")
        assert lookup.generation("address", "127.0.0.1") == first
        await rig.write(CATALOG_WRITE, register("n9", "127.0.0.1"))
        await clock.advance(ADDRESS_TTL_S + 1)
        await lookup.fetch("address", "127.0.0.1")
        assert lookup.generation("address", "127.0.0.1") != first

    with_lookup(tmp_path, body)


def test_address_answers_are_bounded_and_what_is_no_address_is_refused(tmp_path: Path) -> None:
    async def body(_rig: Rig, lookup: ViewLookup, _views: Views, _clock: ManualClock) -> None:
        for number in range(ADDRESSES_MAX + 5):
            await lookup.fetch("address", f"10.0.{number // 256}.{number % 256}")
        assert lookup.by_address("10.0.0.0") is None
        assert lookup.by_address("10.0.0.9") == ((), ())
        with pytest.raises(errors.InvalidRequest):
            await lookup.fetch("address", "not an address")
        with pytest.raises(errors.InvalidRequest):
            await lookup.fetch("weather", "")

    with_lookup(tmp_path, body)


def test_with_every_server_gone_what_was_known_is_still_answered(tmp_path: Path) -> None:
    async def body(rig: Rig, lookup: ViewLookup, views: Views, clock: ManualClock) -> None:
        await lookup.fetch("health", "web")
        await lookup.fetch("address", "127.0.0.1")
        await rig.server.stop()
        await until(lambda: views.view(Topic(kind="services")).age_s > 0)
        await clock.advance(ADDRESS_TTL_S + 1)
        found = lookup.instances("web", connect=False)
        assert found is not None
        assert len(found) == 2
        assert lookup.instances("nobody", connect=False) == ()
        known = lookup.by_address("127.0.0.1")
        assert known is not None
        assert known[0]

    with_lookup(tmp_path, body)


def test_prepared_queries_are_followed_and_stay_when_the_servers_are_gone(tmp_path: Path) -> None:
    async def body(rig: Rig, lookup: ViewLookup, _views: Views, _clock: ManualClock) -> None:
        id = "11111111-1111-1111-1111-111111111111"
        made = PreparedQuery(id=id, name="q-", token="secret", service=QueryService(service="${name.suffix}"))
        made = msgspec.structs.replace(made, template=QueryTemplate(type=NAME_PREFIX_MATCH))
        await rig.write(QUERY_WRITE, SetPreparedQuery(query=made))
        assert not lookup.queries_known()
        assert lookup.query("q-web") is None
        assert lookup.generation("prepared-queries", "q-web") == 0
        await lookup.fetch("prepared-queries", "q-web")
        found = lookup.query("Q-web")
        assert found is not None
        assert (found.service.service, found.token) == ("web", "")
        assert lookup.instances("web", connect=False), "its service was fetched with it"
        assert lookup.query("else") is None
        assert lookup.query(id) is None, "a template has no name of its own"
        before = lookup.generation("prepared-queries", "q-web")
        await rig.server.stop()
        assert lookup.query("q-web") == found
        assert lookup.generation("prepared-queries", "q-web") == before

    with_lookup(tmp_path, body)


def test_a_prepared_query_that_is_removed_is_gone_here_too(tmp_path: Path) -> None:
    async def body(rig: Rig, lookup: ViewLookup, views: Views, _clock: ManualClock) -> None:
        query = PreparedQuery(id="11111111-1111-1111-1111-111111111111", name="q", service=QueryService(service="x"))
        await rig.write(QUERY_WRITE, SetPreparedQuery(query=query))
        await lookup.fetch("prepared-queries", "q")
        assert lookup.query(query.id) is not None
        before = lookup.generation("prepared-queries", "q")
        await rig.write(QUERY_WRITE, DeletePreparedQuery(id=query.id))
        await until(lambda: lookup.query("q") is None)
        assert lookup.generation("prepared-queries", "q") != before
        assert len(views) == 2, "a service that nobody registered opened no view"

    with_lookup(tmp_path, body)
