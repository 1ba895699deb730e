"""Leaders that change in the middle of a rotation, at each of its steps, and clocks that jump under the CA."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from chowk.connect.ca.keys import make_csr, make_key
from chowk.connect.ca.rotation import PUBLISH_S, next_root
from chowk.connect.ca.verification import IdentityError, verify_chain
from chowk.core.errors import Unavailable
from chowk.core.records.ca import CARoots, LeafCertificate, unix_s
from support.authority_rig import Life, MovedClock

CSR = make_csr(make_key(), "web")
DAY_S = 86_400.0
LEAF_LIVES_S = 2 * 3 * DAY_S
RESTART, ELECTION = "a restart", "an election"


def proven(leaf: LeafCertificate, roots: CARoots, now_s: float) -> bool:
    chain = [each.public_bytes(Encoding.DER) for each in x509.load_pem_x509_certificates(leaf.cert_pem.encode())]
    try:
        return verify_chain(chain, roots, now_s).service == "web"
    except IdentityError:
        return False


class Story:
    """One cluster whose leader may change; `told` are the roots that sidecars have been told, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, MovedClock()
        self.life = Life(folder, clock=self.clock)
        self.told: list[CARoots] = []
        self.leaves: list[LeafCertificate] = []

    async def __aenter__(self) -> Story:
        await self.life.__aenter__()
        await self.look()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.life.__aexit__()

    async def look(self) -> None:
        """What sidecars hear and hold now. Everyone takes everyone who knows as much, or one step more or less."""
        roots = self.life.machine.store.trusted()
        if not self.told or self.told[-1] != roots:
            self.told.append(roots)
        self.leaves.append(await self.life.duties.authority.sign("web", CSR))
        now_s = self.clock.wall()
        in_time = [leaf for leaf in self.leaves[-2:] if now_s < unix_s(leaf.valid_before)]
        assert all(proven(leaf, roots, now_s) for roots in self.told[-2:] for leaf in in_time)
        assert [root.active for root in roots.roots].count(True) == 1

    async def attempt(self, work: Awaitable[object]) -> None:
        """As the duty does: what fails is tried again later."""
        with contextlib.suppress(Unavailable):
            await work
        await self.look()

    async def step(self, after_s: float = 0.0) -> None:
        self.clock.ahead_s += after_s
        await self.attempt(self.life.duties.authority.step())

    async def rotate(self) -> None:
        await self.attempt(self.life.duties.authority.rotate(emergency=False, distrust=False))

    async def change(self, how: str) -> None:
        if how == RESTART:
            await self.life.__aexit__()
            self.life = Life(self.folder, clock=self.clock)
            await self.life.__aenter__()
        else:
            self.life.consensus.lead(False)
            self.life.consensus.lead(True)
            await self.life.duties.done.wait()
        await self.look()


@pytest.mark.parametrize("how", [RESTART, ELECTION])
@pytest.mark.parametrize("fault", ["failures", "replies_lost", ""])
@pytest.mark.parametrize("phase", ["publish", "wait", "activate", "rotated out", "drop"])
def test_a_rotation_is_ended_once_by_whoever_leads(phase: str, fault: str, how: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with Story(tmp_path) as story:
            first = story.life.active()
            phases = {
                "publish": story.rotate,
                "wait": story.step,
                "activate": lambda: story.step(PUBLISH_S),
                "rotated out": story.step,
                "drop": lambda: story.step(LEAF_LIVES_S + 60),
            }
            for name, work in phases.items():
                if name == phase and fault:
                    setattr(story.life.consensus, fault, 1)
                await work()
                if name == phase:
                    await story.change(how)
                    story.life.consensus.failures = story.life.consensus.replies_lost = 0
                    await story.step()
            roots = story.life.machine.store.roots
            if phase == "publish" and fault == "failures":
                assert [root.id for root in roots] == [first], "nobody had been told: who asked was told that it failed"
                return
            for _ in range(3):
                await story.step(PUBLISH_S)
                await story.step(LEAF_LIVES_S + 60)
            roots = story.life.machine.store.roots
            assert len(roots) == 1
            assert roots[0].id != first
            assert len({told.active_root_id for told in story.told}) == 2, "one rotation, not two"

    asyncio.run(scene())


def test_asked_twice_it_is_one_rotation_and_the_second_is_told_of_the_first(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Story(tmp_path) as story:
            authority = story.life.duties.authority
            asked = await asyncio.gather(*(authority.rotate(emergency=False, distrust=False) for _ in range(3)))
            assert len(set(asked)) == 1
            await story.look()
            await story.step(PUBLISH_S)
            assert story.life.active() == asked[0]
            again = await authority.rotate(emergency=False, distrust=False)
            assert again != asked[0], "the one before is done"

    asyncio.run(scene())


def test_an_emergency_ends_a_rotation_under_way_but_a_theft_trusts_nothing_of_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Story(tmp_path) as story:
            authority, store = story.life.duties.authority, story.life.machine.store
            waiting = await authority.rotate(emergency=False, distrust=False)
            assert await authority.rotate(emergency=True, distrust=False) == waiting
            assert (store.trusted().active_root_id, next_root(store.roots)) == (waiting, None)
            beside = await authority.rotate(emergency=False, distrust=False)
            made = await authority.rotate(emergency=True, distrust=True)
            assert made not in (beside, waiting)
            assert [root.id for root in store.roots] == [made]

    asyncio.run(scene())


@pytest.mark.parametrize("days", [0.5, 30, 11 * 365])
def test_a_clock_that_jumps_ahead_and_back_leaves_a_ca_whose_leaves_are_good(days: float, tmp_path: Path) -> None:
    async def scene() -> None:
        async with Story(tmp_path) as story:
            authority = story.life.duties.authority
            for jump in (days, -days):
                story.clock.ahead_s += jump * DAY_S
                for _ in range(2):
                    await authority.step()
                leaf = await authority.sign("web", CSR)
                assert proven(leaf, story.life.machine.store.trusted(), story.clock.wall())
            assert len(story.life.machine.store.roots) <= 4

    asyncio.run(scene())


def test_a_root_made_by_a_server_whose_clock_is_ahead_is_replaced_by_the_next_leader(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Story(tmp_path) as story:
            story.clock.ahead_s = DAY_S
            from_tomorrow = await story.life.duties.authority.rotate(emergency=True, distrust=False)
            story.clock.ahead_s = 0.0
            authority, store = story.life.duties.authority, story.life.machine.store
            story.life.consensus.lead(False)
            story.life.consensus.lead(True)
            await story.life.duties.done.wait()
            assert story.life.active() != from_tomorrow
            assert proven(await authority.sign("web", CSR), store.trusted(), story.clock.wall())
            replaced = story.life.active()
            story.clock.ahead_s = PUBLISH_S
            await authority.step()
            assert story.life.active() == replaced, "once is enough"

    asyncio.run(scene())
