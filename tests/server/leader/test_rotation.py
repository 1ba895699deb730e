"""The CA over years, its clock moved by the test: what it signs is good to whoever trusts what was told last, or before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from chowk.connect.ca.keys import make_csr, make_key
from chowk.connect.ca.rotation import PUBLISH_S
from chowk.connect.ca.verification import IdentityError, verify_chain
from chowk.core.errors import Unavailable
from chowk.core.records.ca import CARoots, LeafCertificate
from chowk.core.runtime.clock import SystemClock
from support.authority_rig import Life, MovedClock

CSR = make_csr(make_key(), "web")
DAY_S = 86_400.0
YEAR_S = 365 * DAY_S


def proven(leaf: LeafCertificate, roots: CARoots, now_s: float) -> str:
    chain = x509.load_pem_x509_certificates(leaf.cert_pem.encode())
    return verify_chain([each.public_bytes(Encoding.DER) for each in chain], roots, now_s).service


async def leaf_of(life: Life) -> LeafCertificate:
    return await life.duties.authority.sign("web", CSR)


def test_leaves_are_signed_by_an_intermediate_that_is_told_with_the_roots(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path) as life:
            (root,) = life.machine.store.roots
            leaf = await leaf_of(life)
            assert leaf.cert_pem.count("BEGIN CERTIFICATE") == 2
            assert leaf.cert_pem.endswith(root.intermediate_certs[0])
            assert proven(leaf, life.machine.store.trusted(), SystemClock().wall()) == "web"

    asyncio.run(scene())


def test_a_rotation_publishes_then_signs_and_both_sides_of_it_prove_themselves_to_each_other(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            authority, store = life.duties.authority, life.machine.store
            before, old_leaf = store.trusted(), await leaf_of(life)
            new_id = await authority.rotate(emergency=False, distrust=False)
            await authority.step()
            published = store.trusted()
            assert published.active_root_id == before.active_root_id
            assert [root.id for root in published.roots] == [before.active_root_id, new_id]
            clock.ahead_s = PUBLISH_S
            await authority.step()
            after, new_leaf = store.trusted(), await leaf_of(life)
            assert after.active_root_id == new_id
            for roots in (before, published, after):
                assert proven(new_leaf, roots, clock.wall()) == "web"
                assert proven(old_leaf, roots, clock.wall()) == "web"

    asyncio.run(scene())


def test_an_old_root_is_trusted_for_two_lives_of_a_leaf_and_no_longer(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            authority, store = life.duties.authority, life.machine.store
            old_leaf = await leaf_of(life)
            new_id = await authority.rotate(emergency=True, distrust=False)
            clock.ahead_s = 2 * 72 * 3600.0 - 60
            await authority.step()
            assert len(store.roots) == 2
            clock.ahead_s += 120
            await authority.step()
            assert [root.id for root in store.roots] == [new_id]
            with pytest.raises(IdentityError):
                proven(old_leaf, store.trusted(), SystemClock().wall())

    asyncio.run(scene())


def test_in_ten_years_no_root_and_no_intermediate_comes_near_its_end(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            authority, store = life.duties.authority, life.machine.store
            ids = set()
            for _month in range(12 * 12):
                clock.ahead_s += YEAR_S / 12
                for _look in range(4):
                    await authority.step()
                    clock.ahead_s += PUBLISH_S
                leaf = await leaf_of(life)
                assert proven(leaf, store.trusted(), clock.wall() + 71 * 3600) == "web"
                assert authority.life_left() > 0.45
                assert len(store.roots) <= 2
                ids.add(store.trusted().active_root_id)
            assert len(ids) == 3, "a root of ten years signs for five"

    asyncio.run(scene())


def test_an_emergency_signs_at_once_after_everything_has_ended(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            authority, store = life.duties.authority, life.machine.store
            clock.ahead_s = 11 * YEAR_S
            with pytest.raises(Unavailable, match="is not valid now"):
                await leaf_of(life)
            new_id = await authority.rotate(emergency=True, distrust=False)
            assert store.trusted().active_root_id == new_id
            assert proven(await leaf_of(life), store.trusted(), clock.wall()) == "web"

    asyncio.run(scene())


def test_a_server_that_finds_everything_ended_helps_itself(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path) as first:
            old_id = first.active()
        clock = MovedClock()
        clock.ahead_s = 11 * YEAR_S
        async with Life(tmp_path, clock=clock) as second:
            assert second.active() != old_id
            assert proven(await leaf_of(second), second.machine.store.trusted(), clock.wall()) == "web"

    asyncio.run(scene())


def test_distrust_ends_what_a_stolen_key_could_sign(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path) as life:
            old_leaf = await leaf_of(life)
            new_id = await life.duties.authority.rotate(emergency=True, distrust=True)
            assert [root.id for root in life.machine.store.roots] == [new_id]
            new_leaf = await leaf_of(life)
            assert new_leaf.cert_pem.count("BEGIN CERTIFICATE") == 2, "the old root does not vouch for the new one"
            with pytest.raises(IdentityError):
                proven(old_leaf, life.machine.store.trusted(), SystemClock().wall())

    asyncio.run(scene())


def test_a_restart_in_the_middle_of_a_rotation_ends_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path) as first:
            new_id = await first.duties.authority.rotate(emergency=False, distrust=False)
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as second:
            authority = second.duties.authority
            assert second.machine.store.trusted().active_root_id != new_id
            await authority.step()
            clock.ahead_s = PUBLISH_S
            await authority.step()
            assert second.machine.store.trusted().active_root_id == new_id
            assert proven(await leaf_of(second), second.machine.store.trusted(), clock.wall()) == "web"

    asyncio.run(scene())


def test_a_next_root_whose_key_is_lost_is_given_up(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = MovedClock()
        async with Life(tmp_path, clock=clock) as life:
            authority = life.duties.authority
            new_id = await authority.rotate(emergency=False, distrust=False)
            (tmp_path / "server" / "ca" / f"{new_id.replace(':', '')}.pem").unlink()
            with pytest.raises(Unavailable, match="rotate again"):
                await authority.rotate(emergency=True, distrust=False)
            assert len(life.machine.store.roots) == 1
            again = await authority.rotate(emergency=True, distrust=False)
            assert life.machine.store.trusted().active_root_id == again != new_id

    asyncio.run(scene())
