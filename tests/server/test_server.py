"""A server as its agents see it: over its Unix socket, in process and as a process that is killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chowk.core.commands import Deregister, Register, UpsertIntention
from chowk.core.errors import InvalidRequest
from chowk.core.events import HEALTH, ROOTS, InstanceItem, RootsItem, Topic
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import SourceIntention
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.core.requests import (
    CATALOG_WRITE,
    HEALTH_INSTANCES,
    INTENTION_WRITE,
    SUBSCRIBE,
    InstancesQuery,
    QueryOptions,
    SubscribeRequest,
)
from support.server_rig import running_server

NODE = Node(node="host-1", address="127.0.0.1")


def web(number: int = 1, port: int = 8080) -> Register:
    service = NodeService(id=f"web-{number}", service="web", port=port)
    check = HealthCheck(node="host-1", check_id=f"c-{number}", service_id=service.id, status="passing")
    return Register(node=NODE, service=service, checks=(check,))


def test_what_is_registered_is_read_back_and_followed(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_server(tmp_path) as rig:
            reply = await rig.write(CATALOG_WRITE, web())
            read = await rig.call(HEALTH_INSTANCES, InstancesQuery(name="WEB"))
            assert read.meta.index == reply.index
            assert [each.key for each in read.instances] == ["host-1/web-1"]
            stream = rig.client.stream(SUBSCRIBE, SubscribeRequest(topic=Topic(kind=HEALTH, key="web")))
            first = await anext(stream)
            assert first.reset
            assert first.snapshot_done
            assert [event.key for event in first.events] == ["host-1/web-1"]
            await rig.write(CATALOG_WRITE, web(port=9090))
            live = await anext(stream)
            assert not live.reset
            payload = live.events[0].payload
            assert isinstance(payload, InstanceItem)
            assert payload.instance.service.port == 9090
            await stream.aclose()

    asyncio.run(scene())


def test_a_method_takes_only_the_commands_it_is_for(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_server(tmp_path) as rig:
            intention = UpsertIntention(destination="db", source=SourceIntention(name="web", action="allow"))
            with pytest.raises(InvalidRequest, match=r"Catalog\.Write does not take"):
                await rig.write(CATALOG_WRITE, intention)
            with pytest.raises(InvalidRequest, match=r"Intention\.Write does not take"):
                await rig.write(INTENTION_WRITE, Deregister(node="host-1"))

    asyncio.run(scene())


def test_a_blocking_query_sleeps_through_other_services_and_wakes_for_its_own(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_server(tmp_path) as rig:
            index = (await rig.write(CATALOG_WRITE, web())).index
            query = InstancesQuery(name="web", options=QueryOptions(min_index=index, max_wait_s=30))
            waiting = asyncio.ensure_future(rig.call(HEALTH_INSTANCES, query, 30.0))
            other = NodeService(id="db", service="db")
            await rig.write(CATALOG_WRITE, Register(node=NODE, service=other))
            assert not waiting.done()
            await rig.write(CATALOG_WRITE, web(2))
            reply = await waiting
            assert len(reply.instances) == 2
            assert reply.meta.index > index

    asyncio.run(scene())


def test_the_leader_makes_a_root_before_anyone_asks(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_server(tmp_path) as rig:
            stream = rig.client.stream(SUBSCRIBE, SubscribeRequest(topic=Topic(kind=ROOTS)))
            frame = await anext(stream)
            payload = frame.events[0].payload
            assert isinstance(payload, RootsItem)
            assert payload.roots.active_root_id == payload.roots.roots[0].id
            assert payload.roots.trust_domain == f"{rig.machine.store.cluster_id}.consul"
            await stream.aclose()

    asyncio.run(scene())
