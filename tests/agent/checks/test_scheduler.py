from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chowk.agent.checks.scheduler import CheckScheduler
from chowk.agent.checks.thresholds import Thresholds
from chowk.agent.config.model import ChecksConfig
from chowk.agent.local.state import LocalState
from chowk.core.definitions import CheckDefinition, Position, ServiceDefinition
from chowk.core.errors import InvalidRequest, NotFound
from chowk.core.records.check import HealthCheck
from chowk.core.records.service import NodeService
from chowk.core.requests import NodeServicesReply, QueryMeta
from chowk.core.runtime.clock import ManualClock
from support.local_agent import NODE, make_local

Scene = Callable[[LocalState, CheckScheduler, ManualClock], Awaitable[None]]


def play(scene: Scene, config: ChecksConfig | None = None, client: Any = None) -> None:
    async def run() -> None:
        clock = ManualClock()
        local = make_local(clock=clock)
        scheduler = CheckScheduler(local, config or ChecksConfig(), clock, rng=random.Random(1), client=client)
        await scheduler.start()
        try:
            await scene(local, scheduler, clock)
        finally:
            await scheduler.close()

    asyncio.run(run())


def status(local: LocalState, check_id: str) -> str:
    return local.checks[check_id].check.status


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def ttl(**fields: Any) -> ServiceDefinition:
    return ServiceDefinition(name="web", checks=(CheckDefinition(id="beat", ttl_s=30.0, **fields),))


def test_a_ttl_check_passes_with_its_heartbeats_and_fails_without() -> None:
    async def scene(local: LocalState, scheduler: CheckScheduler, clock: ManualClock) -> None:
        local.load((ttl(),), ())
        await settle()
        assert status(local, "beat") == "critical"
        for _ in range(5):
            scheduler.heartbeat("beat", "passing", "well")
            await clock.advance(29)
            assert status(local, "beat") == "passing"
        await clock.advance(2)
        assert status(local, "beat") == "critical"
        assert local.checks["beat"].check.output == "TTL expired (last output before timeout follows): well"
        await clock.advance(300)
        assert local.checks["beat"].check.output.count("TTL expired") == 1
        scheduler.heartbeat("beat", "warning", "so so")
        await clock.advance(29)
        assert status(local, "beat") == "warning"
        await clock.advance(2)
        assert status(local, "beat") == "critical"

    play(scene)


@pytest.mark.parametrize("jump_s", [1e6, -1e6])
def test_a_wall_clock_that_jumps_expires_nothing(jump_s: float) -> None:
    async def scene(local: LocalState, scheduler: CheckScheduler, clock: ManualClock) -> None:
        local.load((ttl(),), ())
        await settle()
        scheduler.heartbeat("beat", "passing", "")
        clock.jump_wall(jump_s)
        await clock.advance(29)
        assert status(local, "beat") == "passing"
        await clock.advance(2)
        assert status(local, "beat") == "critical"

    play(scene)


def test_only_ttl_checks_take_heartbeats() -> None:
    async def scene(local: LocalState, scheduler: CheckScheduler, _clock: ManualClock) -> None:
        local.register_check(CheckDefinition(name="port", tcp="127.0.0.1:1", interval_s=10), "api")
        local.load((ttl(),), ())
        with pytest.raises(
            NotFound, match=r'Unknown check ID "x". Ensure that the check ID is passed, not the check name'
        ):
            scheduler.heartbeat("x", "passing", "")
        with pytest.raises(InvalidRequest, match='CheckID "port" does not have associated TTL'):
            scheduler.heartbeat("port", "passing", "")
        with pytest.raises(InvalidRequest):
            scheduler.heartbeat("beat", "splendid", "")
        scheduler.heartbeat("beat", "passing", "é" * 10_000)
        assert len(local.checks["beat"].check.output.encode()) <= 4096

    play(scene)


def test_a_reload_that_only_moves_lines_restarts_no_check() -> None:
    async def scene(local: LocalState, scheduler: CheckScheduler, clock: ManualClock) -> None:
        local.load((ttl(),), ())
        await settle()
        scheduler.heartbeat("beat", "passing", "")
        await clock.advance(20)
        local.load((ttl(position=Position(file="web.hcl", line=7)),), ())
        await clock.advance(11)
        assert status(local, "beat") == "critical"

    play(scene)


def test_the_first_runs_of_many_checks_are_spread_over_the_interval() -> None:
    async def scene(local: LocalState, _scheduler: CheckScheduler, clock: ManualClock) -> None:
        checks = [CheckDefinition(id=f"c{i}", name="c", args=("/bin/true",), interval_s=100) for i in range(100)]
        local.load((), checks)
        done = []
        for _ in range(10):
            await clock.advance(10)
            done.append(sum(1 for entry in local.checks.values() if entry.check.output))
        assert done[-1] == 100
        steps = [after - before for before, after in zip([0, *done], done, strict=False)]
        assert max(steps) <= 25

    play(scene)


def test_discarded_output_stays_discarded() -> None:
    async def scene(local: LocalState, scheduler: CheckScheduler, _clock: ManualClock) -> None:
        local.load((ttl(),), ())
        scheduler.heartbeat("beat", "passing", "secret")
        assert local.checks["beat"].check.output == ""

    play(scene, ChecksConfig(discard_check_output=True))


def test_no_check_keeps_more_output_than_the_agent_allows() -> None:
    async def scene(local: LocalState, scheduler: CheckScheduler, _clock: ManualClock) -> None:
        local.load((ttl(),), ())
        scheduler.heartbeat("beat", "passing", "0123456789")
        assert local.checks["beat"].check.output == "0123"

    play(scene, ChecksConfig(output_max_size=4))


def test_a_service_critical_for_too_long_is_deregistered() -> None:
    async def scene(local: LocalState, scheduler: CheckScheduler, clock: ManualClock) -> None:
        local.load((ttl(deregister_critical_service_after_s=90.0), ServiceDefinition(name="db")), ())
        await settle()
        await clock.advance(80)
        scheduler.heartbeat("beat", "passing", "")
        await clock.advance(29)
        assert "web" in local.services
        await clock.advance(62)
        assert "web" in local.services
        local.load((ttl(deregister_critical_service_after_s=90.0), ServiceDefinition(name="db", port=1)), ())
        await clock.advance(65)
        assert "web" not in local.services
        assert "db" in local.services

    play(scene)


def test_an_alias_follows_the_local_service_its_maintenance_and_its_node() -> None:
    async def scene(local: LocalState, scheduler: CheckScheduler, _clock: ManualClock) -> None:
        alias = CheckDefinition(id="alias", name="alias", alias_service="web")
        local.load((ttl(),), (alias,))
        seen = []
        for beat in ("critical", "warning", "passing"):
            scheduler.heartbeat("beat", beat, "why")
            await settle()
            seen.append(status(local, "alias"))
        local.set_service_maintenance("web", True)
        await settle()
        seen.append(status(local, "alias"))
        local.set_service_maintenance("web", False)
        local.set_node_maintenance(True)
        await settle()
        seen.append(status(local, "alias"))
        local.set_node_maintenance(False)
        local.deregister_service("web")
        await settle()
        assert seen == ["critical", "warning", "passing", "critical", "critical"]
        assert local.checks["alias"].check.output == "Service web could not be found on node n1"

    play(scene)


def test_aliases_of_each_other_come_to_rest() -> None:
    async def scene(local: LocalState, _scheduler: CheckScheduler, _clock: ManualClock) -> None:
        local.load(
            (
                ServiceDefinition(name="a", checks=(CheckDefinition(id="ab", alias_service="b"),)),
                ServiceDefinition(name="b", checks=(CheckDefinition(id="ba", alias_service="a"),)),
            ),
            (),
        )
        for _ in range(2000):
            await asyncio.sleep(0)
        changes: list[int] = []
        local.on_change(lambda: changes.append(1))
        await settle()
        assert not changes
        assert len(local.checks["ab"].check.output.encode()) <= 4096

    play(scene)


def test_an_alias_of_another_node_follows_the_servers_and_outlives_them() -> None:
    class Servers:
        def __init__(self) -> None:
            self.status = "passing"
            self.index = 5
            self.asked: list[int] = []

        async def call(self, _method: Any, request: Any, *, timeout_s: float = 10.0) -> Any:
            self.asked.append(request.options.min_index)
            return NodeServicesReply(
                meta=QueryMeta(index=self.index),
                node=NODE,
                services=(NodeService(id="db", service="db"),),
                checks=(HealthCheck(node="n2", check_id="c", name="c", status=self.status, service_id="db"),),
            )

    servers = Servers()

    async def scene(local: LocalState, _scheduler: CheckScheduler, clock: ManualClock) -> None:
        local.load((), (CheckDefinition(id="far", name="far", alias_node="n2", alias_service="db"),))
        await clock.advance(1.5)
        assert status(local, "far") == "passing"
        servers.status = "critical"
        await clock.advance(1.5)
        assert status(local, "far") == "critical"
        assert servers.asked[:2] == [0, 5]

    play(scene, client=servers)


def test_a_script_stops_being_run_when_a_reload_forbids_it() -> None:
    async def scene(local: LocalState, scheduler: CheckScheduler, clock: ManualClock) -> None:
        local.load((), (CheckDefinition(id="s", name="s", args=("/bin/true",), interval_s=10.0, status="passing"),))
        await settle()
        scheduler.reload(ChecksConfig())
        await clock.advance(11)
        assert status(local, "s") == "critical"
        assert "Scripts are disabled" in local.checks["s"].check.output

    play(scene, ChecksConfig(enable_script_checks=True))


def results(definition: CheckDefinition, looks: str) -> str:
    """`p`, `w`, `c` a look; `-` where the status stays."""
    names = {"p": "passing", "w": "warning", "c": "critical"}
    thresholds = Thresholds(definition)
    return "".join((thresholds.receive(names[each]) or "-")[0] for each in looks)


def test_thresholds_count_results_in_a_row() -> None:
    plain = CheckDefinition()
    assert results(plain, "pwcpc") == "pwcpc"
    three = CheckDefinition(success_before_passing=3, failures_before_critical=3)
    assert results(three, "pppccpcccpwp") == "--p-----c--p"
    assert results(CheckDefinition(failures_before_warning=2, failures_before_critical=4), "ccccpc") == "-wwcp-"


def test_hastened_checks_of_a_service_run_now_and_others_wait_for_their_turn() -> None:
    async def scene(local: LocalState, scheduler: CheckScheduler, _clock: ManualClock) -> None:
        checks = (CheckDefinition(id="listens", tcp="127.0.0.1:1", interval_s=1000, timeout_s=5),)
        other = (CheckDefinition(id="other", tcp="127.0.0.1:1", interval_s=1000, timeout_s=5),)
        local.load((ServiceDefinition(name="web", checks=checks), ServiceDefinition(name="db", checks=other)), ())
        await settle()
        scheduler.hasten("web")
        async with asyncio.timeout(10):
            while not local.checks["listens"].check.output:
                await asyncio.sleep(0)
        assert local.checks["other"].check.output == ""

    play(scene)


def test_what_answers_in_place_of_a_sidecar_that_could_not_listen_does_not_make_it_healthy() -> None:
    async def run() -> None:
        local, clock = make_local(), ManualClock()
        stranger = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        port = stranger.sockets[0].getsockname()[1]
        scheduler = CheckScheduler(
            local, ChecksConfig(), clock, veto=lambda name: "the port is taken" if name == "web" else ""
        )
        await scheduler.start()
        try:
            checks = (CheckDefinition(id="listens", tcp=f"127.0.0.1:{port}", interval_s=1000, timeout_s=5),)
            local.load((ServiceDefinition(name="web", checks=checks),), ())
            await settle()
            scheduler.hasten("web")
            async with asyncio.timeout(10):
                while not local.checks["listens"].check.output:
                    await asyncio.sleep(0)
            assert (local.checks["listens"].check.output, status(local, "listens")) == ("the port is taken", "critical")
        finally:
            await scheduler.close()
            stranger.close()

    asyncio.run(run())
