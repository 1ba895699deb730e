from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from chowk.agent.checks.scheduler import CheckScheduler
from chowk.agent.config.model import ChecksConfig
from chowk.agent.local.diff import Facts, applied
from chowk.agent.local.registrations import Registrations
from chowk.agent.local.state import LocalState
from chowk.agent.sync import Syncer
from chowk.core.definitions import CheckDefinition, ServiceDefinition
from chowk.core.requests import CATALOG_NODE_SERVICES, NodeServicesReply, QueryMeta, Write, WriteReply
from chowk.core.runtime.clock import ManualClock
from support.fake_server import until
from support.local_agent import make_local, meshed


class Servers:
    """They keep one node, and every status that a check of it ever had there."""

    def __init__(self) -> None:
        self.facts = Facts(node=None, services={}, checks={})
        self.seen: set[tuple[str, str]] = set()

    async def call(self, method: Any, request: Any, *, timeout_s: float = 10.0) -> Any:
        if method is CATALOG_NODE_SERVICES:
            facts = self.facts
            services, checks = tuple(facts.services.values()), tuple(facts.checks.values())
            return NodeServicesReply(meta=QueryMeta(index=1), node=facts.node, services=services, checks=checks)
        self.facts = applied(self.facts, request.command)
        self.seen |= {(check.check_id, check.status) for check in self.facts.checks.values()}
        return WriteReply(index=1)

    def next_write(self, command: Any) -> Write:
        return Write(command=command, client="c", sequence=1)

    def on_connect(self, _callback: Any) -> Any:
        return lambda: None


def start(folder: Path, clock: ManualClock, *checks: CheckDefinition) -> tuple[LocalState, CheckScheduler]:
    local = make_local(Registrations(folder, "boot"), clock)
    scheduler = CheckScheduler(local, ChecksConfig(enable_script_checks=True), clock, rng=random.Random(1))
    local.load((meshed("web", 80), ServiceDefinition(name="api", checks=checks)), ())
    return local, scheduler


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def test_a_restart_writes_nothing_worse_to_the_catalog_than_it_held(tmp_path: Path) -> None:
    async def run() -> None:
        clock, servers = ManualClock(), Servers()
        for _start in range(3):
            local, scheduler = start(tmp_path, clock, CheckDefinition(id="up", args=("true",), interval_s=1000))
            syncer = Syncer(local, servers, clock, rng=random.Random(1))
            await syncer.start()
            await scheduler.start()
            await settle()
            await clock.advance(0)
            if not _start:
                for check_id in ("up", "service:web-sidecar-proxy:1"):
                    local.update_check(check_id, "passing", "well")
                await settle()
                assert {check.status for check in servers.facts.checks.values()} == {"passing"}
                servers.seen.clear()
            await scheduler.close()
            await syncer.close()
        assert {status for _check, status in servers.seen} <= {"passing"}
        assert {check.status for check in servers.facts.checks.values()} == {"passing"}

    asyncio.run(run())


def test_restored_checks_run_within_two_seconds_and_not_all_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        clock = ManualClock()
        checks = [CheckDefinition(id=f"c{i}", args=("/nowhere",), interval_s=1000) for i in range(40)]
        local, _scheduler = start(tmp_path, clock, *checks)
        for check in checks:
            local.update_check(check.id, "passing", "well")
        local, scheduler = start(
            tmp_path, clock, *checks, CheckDefinition(id="new", args=("/nowhere",), interval_s=1e6)
        )
        await scheduler.start()

        def failing() -> int:
            return sum(local.checks[check.id].check.status == "critical" for check in checks)

        await settle()
        assert failing() == 0
        await clock.advance(1.0)
        await until(lambda: failing() > 5)
        assert failing() < 35
        await clock.advance(1.0)
        await until(lambda: failing() == 40)
        assert local.checks["new"].check.output == "", "what was not restored waits for its turn"
        await scheduler.close()

    asyncio.run(run())


def test_a_restored_script_that_may_not_run_any_more_does_not_stay_healthy(tmp_path: Path) -> None:
    async def run() -> None:
        clock = ManualClock()
        check = CheckDefinition(id="up", args=("true",), interval_s=1000)
        local, _scheduler = start(tmp_path, clock, check)
        local.update_check("up", "passing", "well")
        local, _scheduler = start(tmp_path, clock, check)
        assert local.checks["up"].check.status == "passing"
        scheduler = CheckScheduler(local, ChecksConfig(), clock)
        await scheduler.start()
        await clock.advance(2.0)
        await settle()
        assert local.checks["up"].check.status == "critical"
        assert "Scripts are disabled" in local.checks["up"].check.output
        await scheduler.close()

    asyncio.run(run())


def test_an_alias_follows_what_was_restored_and_then_what_is_found(tmp_path: Path) -> None:
    async def run() -> None:
        clock = ManualClock()
        checks = (CheckDefinition(id="up", ttl_s=30.0), CheckDefinition(id="also", alias_service="web"))
        alias = "service:web-sidecar-proxy:2"
        local, scheduler = start(tmp_path, clock, *checks)
        local.register_check(CheckDefinition(id="slow", args=("false",), interval_s=1000, service_id="web"), "api")
        await scheduler.start()
        local.update_check("slow", "passing", "well")
        await settle()
        assert local.checks[alias].check.status == "passing"
        await scheduler.close()
        local, scheduler = start(tmp_path, clock, *checks)
        assert local.checks[alias].check.status == local.checks["also"].check.status == "passing"
        await scheduler.start()
        await settle()
        assert local.checks[alias].check.status == local.checks["also"].check.status == "passing"
        local.update_check("slow", "critical", "gone")
        await settle()
        assert local.checks[alias].check.status == local.checks["also"].check.status == "critical"
        await scheduler.close()

    asyncio.run(run())
