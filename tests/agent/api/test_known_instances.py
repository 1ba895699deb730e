"""Known instances: asked for each time, sent once a change, bounded, and forgotten with the connection."""

from __future__ import annotations

from pathlib import Path

from chowk.agent.api.known_instances import INSTANCE_BYTES, KnownInstances
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.core.requests import HEALTH_INSTANCES, InstancesQuery, InstancesReply, QueryMeta, QueryOptions
from support.http_api import Api, with_api


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


def test_a_token_and_the_mesh_have_answers_of_their_own_and_near_has_none_kept(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(HEALTH_INSTANCES, reply_of)
        known = KnownInstances(api.context.client)
        for connect, options in ((False, QueryOptions()), (True, QueryOptions()), (False, QueryOptions(token="t"))):
            await known.fetch("web", connect=connect)(options, 5)
        await known.fetch("web", connect=False)(QueryOptions(near="n"), 5)
        assert [query.known_index for _, query in api.server.calls] == [0, 0, 0, 0]

    with_api(tmp_path, body)


def test_what_is_kept_is_bounded_also_when_more_is_made_of_it(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(HEALTH_INSTANCES, reply_of)
        known = KnownInstances(api.context.client, bytes_max=3 * INSTANCE_BYTES)
        found = [(await known.fetch("w" * size, connect=False)(QueryOptions(), 5)).found for size in (1, 2, 3)]
        assert len(known) == 3 * INSTANCE_BYTES
        assert found[2].json("large", lambda _rows: b"x" * INSTANCE_BYTES) == b"x" * INSTANCE_BYTES
        assert len(known) == 3 * INSTANCE_BYTES  # the oldest went
        assert await found[2].compress("large", lambda _rows: b"", "gzip") == found[2].compressed("large", "gzip")
        again = await known.fetch("w", connect=False)(QueryOptions(), 5)
        assert again.found is not found[0]
        assert 0 < len(known) <= 3 * INSTANCE_BYTES

    with_api(tmp_path, body)
