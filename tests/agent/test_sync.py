from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from chowk.agent.client.pool import ServerClient
from chowk.agent.local.diff import Facts, applied
from chowk.agent.local.state import LocalState
from chowk.agent.sync import Syncer
from chowk.core.commands import Deregister, Register
from chowk.core.definitions import CheckDefinition, ServiceDefinition
from chowk.core.errors import InvalidRequest, NoLeader, OutcomeUnknown
from chowk.core.records.check import HealthCheck
from chowk.core.records.service import NodeService
from chowk.core.requests import CATALOG_NODE_SERVICES, CATALOG_WRITE, NodeServicesReply, QueryMeta, Write, WriteReply
from chowk.core.runtime.clock import ManualClock
from support.fake_server import FakeServer, until
from support.local_agent import NODE, make_local, meshed


class Catalog:
    """Servers in miniature: they keep one node, and refuse or fail when told."""

    def __init__(self) -> None:
        self.facts = Facts(node=None, services={}, checks={})
        self.writes: list[Register | Deregister] = []
        self.reads = 0
        self.failing: Exception | None = None
        self.refuses: Callable[[Any], bool] = lambda _command: False
        self.under_way = 0
        self.index = 10

    def read(self, _request: Any) -> Any:
        self.reads += 1
        if self.failing is not None:
            return self.failing
        return NodeServicesReply(
            meta=QueryMeta(index=self.index),
            node=self.facts.node,
            services=tuple(self.facts.services.values()),
            checks=tuple(self.facts.checks.values()),
        )

    async def write(self, write: Write) -> Any:
        assert self.under_way == 0, "one write at a time"
        self.under_way += 1
        await asyncio.sleep(0)
        self.under_way -= 1
        if self.failing is not None:
            return self.failing
        command = write.command
        assert isinstance(command, (Register, Deregister))
        if self.refuses(command):
            return InvalidRequest("no such thing")
        self.writes.append(command)
        self.index += 1
        self.facts = applied(self.facts, command)
        return WriteReply(index=self.index)

    def matches(self, local: LocalState) -> bool:
        return (
            self.facts.node == local.node
            and dict(self.facts.services) == {key: entry.service for key, entry in local.services.items()}
            and dict(self.facts.checks) == {key: entry.check for key, entry in local.checks.items()}
        )


Scene = Callable[[Catalog, LocalState, Syncer, ManualClock], Awaitable[None]]


class Direct:
    """A client without a wire."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._sequence = 0
        self.connected: list[Callable[[], None]] = []

    async def call(self, method: Any, request: Any, *, timeout_s: float = 10.0) -> Any:
        result = self._catalog.read(request) if method is CATALOG_NODE_SERVICES else await self._catalog.write(request)
        if isinstance(result, Exception):
            raise result
        return result

    def next_write(self, command: Any) -> Write:
        self._sequence += 1
        return Write(command=command, client="c", sequence=self._sequence)

    def on_connect(self, callback: Callable[[], None]) -> Callable[[], None]:
        self.connected.append(callback)
        return lambda: self.connected.remove(callback)


def play(scene: Scene) -> None:
    async def run() -> None:
        catalog, clock = Catalog(), ManualClock()
        local = make_local(clock=clock)
        syncer = Syncer(local, Direct(catalog), clock, rng=random.Random(1))
        await syncer.start()
        try:
            await scene(catalog, local, syncer, clock)
        finally:
            await syncer.close()

    asyncio.run(run())


WEB = meshed("web", 8080)


def test_what_is_registered_here_comes_into_the_catalog_and_goes_with_it() -> None:
    async def scene(catalog: Catalog, local: LocalState, _syncer: Syncer, clock: ManualClock) -> None:
        local.load((WEB,), (CheckDefinition(name="disk", ttl_s=30),))
        await clock.advance(0)
        assert catalog.matches(local)
        assert len(catalog.writes) == 4, "node, service, sidecar with its checks, check"
        local.update_check("disk", "passing", "")
        await clock.advance(0)
        assert catalog.facts.checks["disk"].status == "passing"
        local.deregister_service("web")
        await clock.advance(0)
        assert catalog.matches(local)
        assert catalog.reads == 1, "between full syncs nothing is read"
        before = len(catalog.writes)
        await clock.advance(1000)
        assert len(catalog.writes) == before, "what is right is not written again"
        assert 13 <= catalog.reads <= 18

    play(scene)


def test_tags_that_others_may_change_are_theirs_until_the_service_is_registered_with_others() -> None:
    """As Patroni says who leads: it registers its service, with `enable_tag_override`, anew."""

    def database(*tags: str) -> ServiceDefinition:
        return ServiceDefinition(name="db", tags=tags, enable_tag_override=True)

    async def scene(catalog: Catalog, local: LocalState, syncer: Syncer, clock: ManualClock) -> None:
        local.register_service(database("replica"), "file")
        await clock.advance(0)
        assert catalog.facts.services["db"].tags == ("replica",)
        local.register_service(database("primary"), "file")
        await clock.advance(0)
        assert catalog.facts.services["db"].tags == ("primary",)
        theirs = msgspec.structs.replace(catalog.facts.services["db"], tags=("theirs",))
        catalog.facts = Facts(node=catalog.facts.node, services={"db": theirs}, checks=catalog.facts.checks)
        syncer.trigger_full()
        await clock.advance(0)
        local.register_service(database("primary"), "file")
        await clock.advance(0)
        assert catalog.facts.services["db"].tags == ("theirs",), "nothing new was said here"
        catalog.failing = NoLeader()
        local.register_service(database("replica"), "file")
        await clock.advance(0)
        catalog.failing = None
        await clock.advance(120)
        assert catalog.facts.services["db"].tags == ("replica",), "said once, and not lost in an outage"

    play(scene)


def test_a_catalog_changed_behind_the_agents_back_is_repaired_within_the_interval() -> None:
    async def scene(catalog: Catalog, local: LocalState, _syncer: Syncer, clock: ManualClock) -> None:
        local.load((WEB,), (CheckDefinition(name="disk", ttl_s=30),))
        await clock.advance(0)
        wrong = NodeService(id="ghost", service="ghost")
        changed = msgspec.structs.replace(catalog.facts.services["web"], port=1, modify_index=77)
        checks = {
            "c": HealthCheck(node="n1", check_id="c", service_id="ghost"),
            "serfHealth": HealthCheck(node="n1", check_id="serfHealth"),
        }
        servers = NodeService(id="consul", service="consul", port=8300)
        catalog.facts = Facts(
            node=msgspec.structs.replace(NODE, address="127.0.0.9", node="N1"),
            services={"web": changed, "ghost": wrong, "consul": servers},
            checks=checks,
        )
        await clock.advance(76)
        assert catalog.facts.checks.keys() - {"serfHealth"} == local.checks.keys()
        assert "serfHealth" in catalog.facts.checks
        assert catalog.facts.services.keys() == {"web", "web-sidecar-proxy", "consul"}
        assert catalog.facts.services["web"].port == 8080
        assert catalog.facts.node == NODE
        catalog.facts = Facts(node=None, services={}, checks={})
        await clock.advance(76)
        assert catalog.matches(local)

    play(scene)


def test_servers_that_are_gone_are_tried_again_ever_more_rarely_and_caught_up_with() -> None:
    async def scene(catalog: Catalog, local: LocalState, _syncer: Syncer, clock: ManualClock) -> None:
        catalog.failing = NoLeader()
        local.load((WEB,), ())
        await clock.advance(600)
        assert 20 <= catalog.reads <= 60
        catalog.failing = None
        await clock.advance(31)
        assert catalog.matches(local)

    play(scene)


def test_after_a_write_whose_outcome_is_unknown_the_catalog_is_read_again() -> None:
    async def scene(catalog: Catalog, local: LocalState, _syncer: Syncer, clock: ManualClock) -> None:
        local.load((WEB,), ())
        await clock.advance(0)
        catalog.failing = OutcomeUnknown("gone")
        local.load((WEB, ServiceDefinition(name="db")), ())
        await clock.advance(0)
        catalog.failing = None
        catalog.facts = Facts(node=None, services={}, checks={})
        await clock.advance(2)
        assert catalog.matches(local)

    play(scene)


def test_one_refused_registration_holds_up_no_other() -> None:
    async def scene(catalog: Catalog, local: LocalState, _syncer: Syncer, clock: ManualClock) -> None:
        catalog.refuses = lambda command: command.service is not None and command.service.id == "bad"
        local.load((ServiceDefinition(name="bad"), ServiceDefinition(name="good")), ())
        await clock.advance(1)
        assert list(catalog.facts.services) == ["good"]
        catalog.refuses = lambda _command: False
        await clock.advance(76)
        assert catalog.matches(local)

    play(scene)


def test_output_alone_is_written_late_and_a_status_at_once() -> None:
    async def scene(catalog: Catalog, local: LocalState, _syncer: Syncer, clock: ManualClock) -> None:
        local.load((), (CheckDefinition(name="disk", ttl_s=30),))
        await clock.advance(0)
        for number in range(14):
            local.update_check("disk", "critical", f"{number}")
            await clock.advance(10)
        assert catalog.facts.checks["disk"].output == ""
        await clock.advance(450 - 140 + 1)
        assert catalog.facts.checks["disk"].output == "13"
        local.update_check("disk", "passing", "now")
        await clock.advance(0)
        assert (catalog.facts.checks["disk"].status, catalog.facts.checks["disk"].output) == ("passing", "now")

    play(scene)


def test_tags_that_others_may_override_stay_as_they_made_them() -> None:
    async def scene(catalog: Catalog, local: LocalState, _syncer: Syncer, clock: ManualClock) -> None:
        local.load(
            (ServiceDefinition(name="web", tags=("a",), enable_tag_override=True), ServiceDefinition(name="db")), ()
        )
        await clock.advance(0)
        theirs = {
            key: msgspec.structs.replace(value, tags=("theirs",)) for key, value in catalog.facts.services.items()
        }
        catalog.facts = msgspec.structs.replace(catalog.facts, services=theirs)
        await clock.advance(76)
        assert catalog.facts.services["web"].tags == ("theirs",)
        assert catalog.facts.services["db"].tags == ()
        local.load((ServiceDefinition(name="web", tags=("a",), port=1, enable_tag_override=True),), ())
        await clock.advance(0)
        assert catalog.facts.services["web"].tags == ("theirs",)
        assert catalog.facts.services["web"].port == 1

    play(scene)


def test_leaving_takes_the_node_out_and_nothing_puts_it_back() -> None:
    async def scene(catalog: Catalog, local: LocalState, syncer: Syncer, clock: ManualClock) -> None:
        local.load((WEB,), ())
        await clock.advance(0)
        await syncer.leave()
        assert catalog.facts.node is None
        local.load((ServiceDefinition(name="late"),), ())
        await clock.advance(200)
        assert catalog.facts == Facts(node=None, services={}, checks={})

    play(scene)


def test_many_checks_are_written_in_parts() -> None:
    async def scene(catalog: Catalog, local: LocalState, _syncer: Syncer, clock: ManualClock) -> None:
        checks = tuple(CheckDefinition(id=f"c{i}", ttl_s=10) for i in range(200))
        local.load((ServiceDefinition(name="web", checks=checks),), ())
        await clock.advance(0)
        assert catalog.matches(local)
        assert max(len(write.checks) for write in catalog.writes if isinstance(write, Register)) == 64

    play(scene)


def test_over_a_real_wire_a_server_that_comes_back_empty_is_filled_again(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "s.sock"
        local = make_local()
        client = ServerClient(path)
        syncer = Syncer(local, client, ManualClock())
        local.load((WEB,), ())
        await client.start()
        await syncer.start()
        try:
            for _life in range(2):
                catalog, server = Catalog(), FakeServer(path)
                server.answer(CATALOG_NODE_SERVICES, catalog.read)
                server.answer(CATALOG_WRITE, catalog.write)
                await server.start()
                await until(lambda catalog=catalog: catalog.matches(local))  # type: ignore[misc]
                await server.close()
        finally:
            await syncer.close()
            await client.close()

    asyncio.run(run())
