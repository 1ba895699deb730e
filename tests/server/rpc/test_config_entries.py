"""What a server takes, refuses and foretells of config entries of traffic, over its socket."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chowk.core.codec import to_builtins
from chowk.core.commands import DeleteConfigEntry, Register, UpsertConfigEntry
from chowk.core.config_requests import CONFIG_PLAN, AffectedService, ConfigPlanQuery
from chowk.core.errors import InvalidRequest
from chowk.core.records.config_entry import (
    AnyConfigEntry,
    HttpPermission,
    Permission,
    ServiceDefaults,
    ServiceIntentions,
    SourceIntention,
)
from chowk.core.records.mesh import Mesh
from chowk.core.records.node import Node
from chowk.core.records.resolver import ServiceResolver, Subset
from chowk.core.records.router import Route, RouteDestination, ServiceRouter
from chowk.core.records.service import KIND_CONNECT_PROXY, ConnectProxy, NodeService, Upstream
from chowk.core.records.splitter import ServiceSplitter, Split
from chowk.core.records.traffic import Fault, FaultAbort, FaultDelay
from chowk.core.requests import CATALOG_WRITE, CONFIG_READ, CONFIG_WRITE, ConfigEntryQuery
from support.server_rig import Rig, running_server

HTTP = ServiceDefaults(name="web", protocol="http")
RESOLVER = ServiceResolver(name="web", subsets={"v1": Subset(), "v2": Subset()})
SPLITTER = ServiceSplitter(
    name="web", splits=(Split(weight=90, service_subset="v1"), Split(weight=10, service_subset="v2"))
)


def run(tmp_path: Path, scene: Any, **options: Any) -> None:
    async def whole() -> None:
        async with running_server(tmp_path, **options) as rig:
            await scene(rig)

    asyncio.run(whole())


def faulty(percent: float, hours: float, maximum: float = 5.0) -> ServiceRouter:
    fault = Fault(
        delay=FaultDelay(percent=percent, duration="5s"),
        max_percent=maximum,
        expires=(datetime.now(UTC) + timedelta(hours=hours)).isoformat(),
    )
    return ServiceRouter(name="web", routes=(Route(destination=RouteDestination(fault=fault)),))


def test_entries_are_taken_in_an_order_in_which_each_stands_and_removed_in_the_other(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        with pytest.raises(InvalidRequest, match="does not permit advanced routing"):
            await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=SPLITTER))
        await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=HTTP))
        with pytest.raises(InvalidRequest, match='does not have a subset named "v1"'):
            await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=SPLITTER))
        for entry in (RESOLVER, SPLITTER):
            await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=entry))
        for kind in ("service-defaults", "service-resolver"):
            with pytest.raises(InvalidRequest, match=r"discovery chain|does not have a subset"):
                await rig.write(CONFIG_WRITE, DeleteConfigEntry(kind=kind, name="web"))
        for kind in ("service-splitter", "service-resolver", "service-defaults"):
            await rig.write(CONFIG_WRITE, DeleteConfigEntry(kind=kind, name="web"))
        assert (await rig.call(CONFIG_READ, ConfigEntryQuery(kind=""))).entries == ()

    run(tmp_path, scene)


def test_two_writes_that_stand_only_without_each_other_do_not_both_pass(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        for entry in (HTTP, RESOLVER):
            await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=entry))
        done = await asyncio.gather(
            rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=SPLITTER)),
            rig.write(CONFIG_WRITE, DeleteConfigEntry(kind="service-resolver", name="web")),
            return_exceptions=True,
        )
        assert sorted(isinstance(each, InvalidRequest) for each in done) == [False, True]

    run(tmp_path, scene)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (faulty(100, 1), "100 percent is over max_percent, which is 5"),
        (faulty(100, 25, maximum=100), "more than 24h away"),
        (faulty(1, -1), "is over"),
        (faulty(1, 1, maximum=float("nan")), "no percentage"),
        (ServiceSplitter(name="web", splits=(Split(weight=float("nan")),)), "no percentage"),
        (ServiceSplitter(name="web", splits=(Split(weight=50),)), "must be 100, not 50"),
        (Mesh(name="global"), 'only "mesh" is supported'),
        (
            ServiceRouter(
                name="web",
                routes=(Route(destination=RouteDestination(fault=Fault(abort=FaultAbort(percent=1, status=200)))),),
            ),
            "200 is no error",
        ),
    ],
)
def test_the_server_judges_for_itself_whatever_an_agent_lets_through(
    tmp_path: Path, entry: AnyConfigEntry, words: str
) -> None:
    async def scene(rig: Rig) -> None:
        await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=HTTP))
        before = rig.machine.store.index
        with pytest.raises(InvalidRequest, match=words):
            await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=entry))
        assert rig.machine.store.index == before

    run(tmp_path, scene)


def sidecar(number: int, of: str, *upstreams: str) -> Register:
    proxy = ConnectProxy(
        destination_service_name=of,
        upstreams=tuple(
            Upstream(destination_name=name, local_bind_port=9000 + at) for at, name in enumerate(upstreams)
        ),
    )
    service = NodeService(
        id=f"{of}-{number}-sidecar-proxy",
        service=f"{of}-sidecar-proxy",
        kind=KIND_CONNECT_PROXY,
        port=21000,
        proxy=proxy,
    )
    return Register(node=Node(node=f"n{number}", address="127.0.0.1"), service=service)


def test_what_grpc_cannot_have_is_told_in_whatever_order_it_is_written(tmp_path: Path) -> None:
    grpc, routes = ServiceDefaults(name="web", protocol="grpc"), Route(destination=RouteDestination(service="shop"))
    router = ServiceRouter(name="web", routes=(routes,))
    allow = Permission(action="allow", http=HttpPermission(path_prefix="/"))
    rules = ServiceIntentions(name="web", sources=(SourceIntention(name="shop", permissions=(allow,)),))
    no_routes = "the routes of web have no effect: its protocol is grpc, carried as TCP, and routes need http"
    all_denied = (
        "permissions for shop deny every connection to web: its protocol is grpc, and only requests of http are "
        "looked at"
    )

    async def scene(rig: Rig) -> None:
        async def doubts(*entries: AnyConfigEntry) -> tuple[str, ...]:
            return (await rig.call(CONFIG_PLAN, ConfigPlanQuery(entries=entries))).plan.warnings

        assert await doubts(rules) == (all_denied.replace("grpc", "tcp"),)
        for entry in (HTTP, ServiceDefaults(name="shop", protocol="http"), router, rules):
            assert await doubts(entry) in ((), (all_denied.replace("grpc", "tcp"),))
            await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=entry))
        shop = ServiceDefaults(name="shop", protocol="grpc")
        assert await doubts(shop, grpc) == (no_routes, all_denied)
        assert await doubts(ServiceDefaults(name="shop", protocol="http")) == ()

    run(tmp_path, scene)


def test_a_plan_tells_what_would_change_and_for_how_many_and_changes_nothing(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        for command in (sidecar(1, "shop", "web"), sidecar(2, "shop", "web", "db"), sidecar(3, "web", "db")):
            await rig.write(CATALOG_WRITE, command)
        for entry in (HTTP, RESOLVER):
            await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=entry))
        before = rig.machine.store.index
        plan = (await rig.call(CONFIG_PLAN, ConfigPlanQuery(entries=(HTTP, RESOLVER)))).plan
        assert (plan.changes, plan.affected, plan.refusal) == ((), (), "")
        plan = (await rig.call(CONFIG_PLAN, ConfigPlanQuery(entries=(SPLITTER, HTTP)))).plan
        assert [(change.old, change.new) for change in plan.changes] == [(None, SPLITTER)]
        assert plan.affected == (AffectedService(service="web", instances=1, sidecars=2),)
        mesh, denial = Mesh(name="mesh", allowed_regions=("eu",)), SourceIntention(name="*", action="deny")
        both = (mesh, ServiceIntentions(name="db", sources=(denial,)))
        plan = (await rig.call(CONFIG_PLAN, ConfigPlanQuery(entries=both))).plan
        assert plan.affected == (
            AffectedService(service="*", instances=3, sidecars=3),
            AffectedService(service="db", instances=0, sidecars=2),
        )
        plan = (await rig.call(CONFIG_PLAN, ConfigPlanQuery(entries=(ServiceDefaults(name="web"),)))).plan
        assert (len(plan.changes), plan.refusal) == (1, "")
        plan = (await rig.call(CONFIG_PLAN, ConfigPlanQuery(entries=(faulty(100, 1),)))).plan
        assert "over max_percent" in plan.refusal
        subsets = {"all": Subset(), "n1": Subset(filter="Node.Node == n1"), "gone": Subset(filter="Node.Node == n7")}
        plan = (
            await rig.call(CONFIG_PLAN, ConfigPlanQuery(entries=(ServiceResolver(name="shop", subsets=subsets),)))
        ).plan
        assert plan.warnings == ("subset gone of shop matches none of its 2 instances in the mesh",)
        nobody = ServiceResolver(name="nobody", subsets=subsets)
        assert (await rig.call(CONFIG_PLAN, ConfigPlanQuery(entries=(nobody,)))).plan.warnings == ()
        assert rig.machine.store.index == before
        with pytest.raises(InvalidRequest, match="name 1 to 256"):
            await rig.call(CONFIG_PLAN, ConfigPlanQuery(entries=()))

    run(tmp_path, scene)


def test_an_intention_as_it_is_stored_is_no_change(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        sources = tuple(SourceIntention(name=name, action="deny") for name in ("web", "*", "api"))
        entry = ServiceIntentions(name="db", sources=sources)
        await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=entry))
        assert (await rig.call(CONFIG_PLAN, ConfigPlanQuery(entries=(entry,)))).plan.changes == ()

    run(tmp_path, scene)


def test_bootstrap_entries_are_written_in_an_order_in_which_they_stand(tmp_path: Path) -> None:
    lapsed, far = faulty(1, -100), faulty(1, 100)
    entries = tuple(to_builtins(entry) for entry in (SPLITTER, lapsed, RESOLVER, HTTP))

    async def scene(rig: Rig) -> None:
        assert sorted(rig.machine.store.entries) == [
            ("service-defaults", "web"), ("service-resolver", "web"), ("service-router", "web"), ("service-splitter", "web"),
        ]  # fmt: skip

    run(tmp_path, scene, config_entries=entries)

    async def without(rig: Rig) -> None:
        assert sorted(rig.machine.store.entries) == [("service-defaults", "web")]

    (tmp_path / "b").mkdir()
    run(tmp_path / "b", without, config_entries=tuple(to_builtins(entry) for entry in (SPLITTER, far, HTTP)))
