"""The watchdog over certificates: what it logs, what it shows, and that it harms nobody."""

from __future__ import annotations

import asyncio

import pytest

from chowk.agent.api.agent_certificates import LEAF, ROOT, CertificateLife
from chowk.agent.expiry import AGAIN_S, LOOK_S, ExpiryWatch
from chowk.core.definitions import ServiceDefinition
from chowk.core.records.check import CERTIFICATES_ID, HealthCheck, worst_status
from chowk.core.runtime.clock import ManualClock
from support.local_agent import make_local

HOUR_S = 3600.0


class Stage:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.local = make_local(clock=self.clock)
        self.known: tuple[CertificateLife, ...] = ()
        self.watch = ExpiryWatch(self.ask, self.local, self.clock)
        self.born = self.clock.wall()

    async def ask(self) -> tuple[CertificateLife, ...]:
        return self.known

    def leaf(self, name: str = "web", life_s: float = 72 * HOUR_S) -> CertificateLife:
        return CertificateLife(LEAF, name, self.born, self.born + life_s)

    def check(self) -> tuple[str, str] | None:
        entry = self.local.checks.get(CERTIFICATES_ID)
        return (entry.check.status, entry.check.output) if entry is not None else None


async def age(stage: Stage, certificate: CertificateLife, part: float) -> None:
    """Let the clock come to where `part` of its life is left."""
    end = certificate.ends_s - part * (certificate.ends_s - certificate.begins_s)
    await stage.clock.advance(end - stage.clock.wall())


def test_a_leaf_warns_at_a_quarter_of_its_life_and_is_critical_at_a_tenth() -> None:
    async def scene() -> None:
        stage = Stage()
        leaf = stage.leaf()
        for part, wanted in ((0.5, None), (0.26, None), (0.24, "warning"), (0.11, "warning"), (0.09, "critical")):
            await age(stage, leaf, part)
            stage.watch.look([leaf])
            found = stage.check()
            assert (found[0] if found else None) == wanted, part
        await age(stage, leaf, -0.1)
        stage.watch.look([leaf])
        assert stage.check() == ("critical", "leaf web: has ended")

    asyncio.run(scene())


def test_a_leaf_of_an_hour_is_judged_by_its_own_life() -> None:
    async def scene() -> None:
        stage = Stage()
        leaf = stage.leaf(life_s=HOUR_S)
        stage.watch.look([leaf])
        assert stage.check() is None

    asyncio.run(scene())


def test_a_root_of_ten_years_is_critical_from_seven_days_out() -> None:
    async def scene() -> None:
        stage = Stage()
        day = 24 * HOUR_S
        root = CertificateLife(ROOT, "root", stage.born, stage.born + 3650 * day)
        await stage.clock.advance(3650 * day - 8 * day)
        stage.watch.look([root])
        assert stage.check() == ("warning", "root root: ends in 192h0m0s")
        await stage.clock.advance(1.1 * day)
        stage.watch.look([root])
        found = stage.check()
        assert found is not None
        assert found[0] == "critical"

    asyncio.run(scene())


def test_the_check_goes_when_the_certificates_are_renewed() -> None:
    async def scene() -> None:
        stage = Stage()
        leaf = stage.leaf()
        await age(stage, leaf, 0.05)
        stage.watch.look([leaf])
        assert stage.check() is not None
        stage.watch.look([CertificateLife(LEAF, "web", stage.clock.wall(), stage.clock.wall() + 72 * HOUR_S)])
        assert stage.check() is None

    asyncio.run(scene())


def test_the_check_takes_no_service_out_of_rotation() -> None:
    checks = [
        HealthCheck(node="n", check_id=CERTIFICATES_ID, status="critical"),
        HealthCheck(node="n", check_id="own", status="passing"),
    ]
    assert worst_status(checks) == "passing"


def test_what_stays_so_is_logged_once_an_hour_and_when_it_gets_worse(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        stage = Stage()
        leaf = stage.leaf()
        await age(stage, leaf, 0.2)
        for _ in range(10):
            stage.watch.look([leaf])
        assert capsys.readouterr().out.count("a certificate comes to its end") == 1
        await stage.clock.advance(AGAIN_S)
        stage.watch.look([leaf])
        assert "warning" in capsys.readouterr().out
        await age(stage, leaf, 0.05)
        stage.watch.look([leaf])
        assert "error" in capsys.readouterr().out

    asyncio.run(scene())


def test_it_looks_by_itself_and_outlives_a_reload_of_services() -> None:
    async def scene() -> None:
        stage = Stage()
        leaf = stage.leaf()
        stage.known = (leaf, CertificateLife(ROOT, "old", 0.0, 1.0, active=False))
        await stage.watch.start()
        await asyncio.sleep(0)
        await age(stage, leaf, 0.05)
        await stage.clock.advance(LOOK_S)
        found = stage.check()
        assert found is not None
        assert "old" not in found[1], "a root that signs no more may end"
        stage.local.load([ServiceDefinition(name="web")], [])
        assert stage.check() == found
        await stage.watch.close()

    asyncio.run(scene())
