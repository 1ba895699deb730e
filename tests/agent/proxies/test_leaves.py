"""Leaves for clients of the API: kept, renewed at half-life, never handed out expired."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from chowk.agent.proxies.leaves import LOOK_S, LeafCache
from chowk.connect.proxy.renewal import RETRY_S_MAX, ROTATION_S_MAX
from chowk.core.errors import ChowkError, Unavailable
from chowk.core.records.ca import CARoot, CARoots, LeafCertificate
from chowk.core.requests import SignReply, SignRequest
from chowk.core.runtime.clock import ManualClock

LIFE_S = 7200.0


class Signer:
    """Signs for LIFE_S by the manual clock; refuses while `down`."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.signed = 0
        self.refused = 0
        self.down = False

    async def call(self, _method: object, request: SignRequest, *, timeout_s: float) -> SignReply:
        if self.down:
            self.refused += 1
            raise Unavailable("no server can be reached")
        self.signed += 1
        now = self.clock.wall()
        begins, ends = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for at in (now, now + LIFE_S))
        leaf = LeafCertificate(
            serial_number=str(self.signed), cert_pem="", service=request.service, service_uri="", valid_after=begins,
            valid_before=ends,
        )  # fmt: skip
        return SignReply(leaf=leaf)


def play(scene: Callable[[LeafCache, Signer, ManualClock], Awaitable[None]]) -> None:
    async def main() -> None:
        clock = ManualClock()
        signer = Signer(clock)
        cache = LeafCache(signer, clock, "host1", random.Random(1))  # type: ignore[arg-type]
        try:
            await scene(cache, signer, clock)
        finally:
            await cache.close()

    asyncio.run(main())


def test_a_leaf_is_signed_once_and_its_key_never_leaves_this_process_but_to_its_reader() -> None:
    async def scene(cache: LeafCache, signer: Signer, _clock: ManualClock) -> None:
        leaves = await asyncio.gather(*(cache.leaf("web") for _ in range(5)))
        assert {leaf.serial_number for leaf in leaves} == {"1"}
        assert "PRIVATE KEY" in leaves[0].private_key_pem

    play(scene)


def test_a_leaf_is_renewed_around_half_its_life_and_readers_that_block_wake() -> None:
    async def scene(cache: LeafCache, signer: Signer, clock: ManualClock) -> None:
        first = await cache.leaf("web")
        blocked = asyncio.ensure_future(cache.wait_newer("web", first.modify_index, 60))
        await clock.advance(LIFE_S * 0.39)
        assert signer.signed == 1
        await clock.advance(LIFE_S * 0.22)
        assert signer.signed == 2
        assert (await blocked).modify_index > first.modify_index

    play(scene)


def test_a_wall_clock_that_jumps_is_noticed_and_no_expired_leaf_is_handed_out() -> None:
    async def scene(cache: LeafCache, signer: Signer, clock: ManualClock) -> None:
        await cache.leaf("web")
        clock.jump_wall(10 * LIFE_S)
        assert (await cache.leaf("web")).serial_number == "2"
        clock.jump_wall(10 * LIFE_S)
        await clock.advance(31)
        assert signer.signed == 3
        signer.down = True
        clock.jump_wall(10 * LIFE_S)
        with pytest.raises(ChowkError):
            await cache.leaf("web")

    play(scene)


def test_renewal_is_tried_again_until_it_is_done() -> None:
    async def scene(cache: LeafCache, signer: Signer, clock: ManualClock) -> None:
        await cache.leaf("web")
        signer.down = True
        await clock.advance(LIFE_S * 0.61)
        signer.down = False
        await clock.advance(310)
        assert signer.signed == 2

    play(scene)


def test_clients_that_ask_together_for_a_leaf_that_has_ended_have_it_signed_once() -> None:
    async def scene(cache: LeafCache, signer: Signer, clock: ManualClock) -> None:
        await cache.leaf("web")
        clock.jump_wall(10 * LIFE_S)
        leaves = await asyncio.gather(*(cache.leaf("web") for _ in range(20)))
        assert {leaf.serial_number for leaf in leaves} == {"2"}
        assert signer.signed == 2

    play(scene)


def test_a_signer_dead_for_a_whole_life_is_asked_rarely_and_used_soon_after_it_is_back() -> None:
    async def scene(cache: LeafCache, signer: Signer, clock: ManualClock) -> None:
        await cache.leaf("web")
        signer.down = True
        await clock.advance(LIFE_S)
        before = signer.refused
        await clock.advance(LIFE_S)
        assert LIFE_S / RETRY_S_MAX <= signer.refused - before <= 2 * LIFE_S / RETRY_S_MAX + 1
        signer.down = False
        await clock.advance(RETRY_S_MAX)
        assert signer.signed == 2

    play(scene)


def test_another_root_brings_another_leaf_soon_and_at_once_where_the_old_one_is_trusted_no_more() -> None:
    async def main() -> None:
        clock = ManualClock()
        signer = Signer(clock)
        known = ["r1"]
        cache = LeafCache(signer, clock, "host1", random.Random(1), roots=lambda: trusted(*known))  # type: ignore[arg-type]
        await cache.leaf("web")
        known.append("r2")
        await clock.advance(LOOK_S + ROTATION_S_MAX)
        assert signer.signed == 2
        await clock.advance(10 * LOOK_S)
        assert signer.signed == 2, "once"
        known[:] = ["r3"]
        await clock.advance(LOOK_S)
        assert signer.signed == 3
        await cache.close()

    asyncio.run(main())


def trusted(*ids: str) -> CARoots:
    made = tuple(
        CARoot(
            id=one, name="", serial_number=1, signing_key_id="", external_trust_domain="", not_before="", not_after="",
            root_cert_pem="",
        )
        for one in ids
    )  # fmt: skip
    return CARoots(active_root_id=ids[-1], roots=made)
