"""Known instances: asked for each time, sent once a change, bounded, and forgotten with the connection."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chowk.agent.api.known_instances import CHOSEN_MAX, INSTANCE_BYTES, Found, KnownInstances
from chowk.agent.api.variants import CATALOG, HEALTH, Wanted
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.core.requests import HEALTH_INSTANCES, InstancesQuery, InstancesReply, QueryMeta, QueryOptions
from support.http_api import Api, with_api

HEALTH_ROWS = Wanted(HEALTH)


def instance(number: int) -> ServiceInstance:
    return ServiceInstance(node=Node(node="n", address="10.0.0.1"), service=NodeService(id=f"w{number}", service="w"))


def reply_of(query: InstancesQuery) -> InstancesReply:
    meta = QueryMeta(index=len(query.name))
    if (query.known_index, query.known_history) == (meta.index, "h"):
        return InstancesReply(meta=meta, instances=(), history="h", unchanged=True)
    return InstancesReply(meta=meta, instances=(instance(len(query.name)),), history="h")


def test_what_the_servers_call_unchanged_is_what_they_sent_before(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(HEALTH_INSTANCES, reply_of)
        known = KnownInstances(api.context.client)
        first = await known.fetch("web", connect=False)(QueryOptions(), 5)
        second = await known.fetch("web", connect=False)(QueryOptions(), 5)
        assert second.found is first.found
        assert [query.known_index for _, query in api.server.calls] == [0, 3]
        known.clear()
        assert (await known.fetch("web", connect=False)(QueryOptions(), 5)).found is not first.found

    with_api(tmp_path, body)


def test_a_token_and_the_mesh_have_answers_of_their_own_and_near_is_an_order_of_what_is_known(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(HEALTH_INSTANCES, reply_of)
        known = KnownInstances(api.context.client)
        for connect, options in ((False, QueryOptions()), (True, QueryOptions()), (False, QueryOptions(token="t"))):
            await known.fetch("web", connect=connect)(options, 5)
        await known.fetch("web", connect=False)(QueryOptions(near="n"), 5)
        assert [query.known_index for _, query in api.server.calls] == [0, 0, 0, 3]
        assert [query.by_order for _, query in api.server.calls] == [False, False, False, True]

    with_api(tmp_path, body)


def test_rows_by_nearness_are_those_that_are_known_in_the_order_that_was_sent(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        rows = tuple(instance(number) for number in range(3))
        meta = QueryMeta(index=5)

        def near(query: InstancesQuery) -> InstancesReply:
            if query.known_index == meta.index:
                return InstancesReply(meta=meta, instances=(), history="h", unchanged=True, order=(2, 0, 1))
            return InstancesReply(meta=meta, instances=rows, history="h", order=(1, 2, 0))

        api.server.answer(HEALTH_INSTANCES, near)
        names = []
        for _ in range(2):
            answer = await api.get("/v1/health/service/w?near=n")
            names.append([row["Service"]["ID"] for row in answer.json()])
        assert names == [["w1", "w2", "w0"], ["w2", "w0", "w1"]]

    with_api(tmp_path, body)


def test_an_older_server_sends_the_rows_nearest_first(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(
            HEALTH_INSTANCES, InstancesReply(meta=QueryMeta(index=5), instances=(instance(2), instance(1)))
        )
        for _ in range(2):
            answer = await api.get("/v1/health/service/w?near=n")
            assert [row["Service"]["ID"] for row in answer.json()] == ["w2", "w1"]

    with_api(tmp_path, body)


def test_of_what_clients_choose_the_last_few_are_kept_and_a_filter_is_run_once_for_all(tmp_path: Path) -> None:
    async def body(_api: Api) -> None:
        found = Found(tuple(instance(number) for number in range(4)), 1, "h")
        sizes = [found.size]
        found.grown = lambda size: sizes.append(sizes[-1] + size)
        wished = [Wanted(HEALTH, filter=f'Service.ID == "w{number % 4}"') for number in range(2 * CHOSEN_MAX)]
        first = await asyncio.gather(*(found.make(wished[0]) for _ in range(5)))
        assert len({id(data) for data in first}) == 1
        for each in wished:
            assert b'"ID":"w' in await found.make(each)
        for number in range(2 * CHOSEN_MAX):
            assert found.made(Wanted(CATALOG, tags=(f"t{number}",))) == b"[]"
            assert found.made(Wanted(CATALOG, tags=(f"t{number}",)), "gzip") is None
        assert sizes[-1] == found.size
        assert found.size <= sizes[0] + 2 * CHOSEN_MAX
        assert found.made(wished[0]) is None

    with_api(tmp_path, body)


def test_what_is_kept_is_bounded_also_when_more_is_made_of_it(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(HEALTH_INSTANCES, reply_of)
        known = KnownInstances(api.context.client, bytes_max=3 * INSTANCE_BYTES)
        found = [(await known.fetch("w" * size, connect=False)(QueryOptions(), 5)).found for size in (1, 2, 3)]
        assert len(known) == 3 * INSTANCE_BYTES
        assert len(found[2].made(HEALTH_ROWS) or b"") > 100
        assert len(known) <= 3 * INSTANCE_BYTES  # the oldest went
        assert await found[2].make(HEALTH_ROWS, "gzip") == found[2].made(HEALTH_ROWS, "gzip")
        again = await known.fetch("w", connect=False)(QueryOptions(), 5)
        assert again.found is not found[0]
        assert 0 < len(known) <= 3 * INSTANCE_BYTES

    with_api(tmp_path, body)
