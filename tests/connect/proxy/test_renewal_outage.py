"""Whoever signs is dead for longer than a leaf lives, or clocks differ: what sidecars do, on a clock of the test."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from chowk.connect.ca.rate import TokenBucket
from chowk.connect.proxy.leaf import LOOK_S_MAX, LeafKeeper
from chowk.connect.proxy.renewal import RETRY_S_MAX
from chowk.connect.proxy.state import ProxySettings, ProxyState
from chowk.core.errors import TooManyRequests, Unavailable
from chowk.core.records.ca import LeafCertificate
from chowk.core.runtime.clock import ManualClock
from support.mesh_rig import MeshCA, server_snapshot

LIFE_S = 3600.0
KEEPERS = 40
RATE = 5.0


class Signer:
    """The servers: dead or alive, with a clock that may be wrong and a limit of signatures a second."""

    def __init__(self, clock: ManualClock, ca: MeshCA, rate: float) -> None:
        self.clock, self.ca = clock, ca
        self.dead = False
        self.ahead_s = 0.0
        self.asked: Counter[int] = Counter()
        self.signed = 0
        self._bucket = TokenBucket(rate, clock.now())

    async def sign(self, csr_pem: str) -> LeafCertificate:
        self.asked[int(self.clock.now())] += 1
        if self.dead:
            raise Unavailable("No cluster leader")
        if not self._bucket.take(self.clock.now()):
            raise TooManyRequests("Rate limit reached, try again later")
        self.signed += 1
        now_s = self.clock.wall() + self.ahead_s
        return self.ca.authority.sign_leaf(self.ca.identity("web"), csr_pem, now_s, LIFE_S)

    def asked_since(self, moment: float) -> list[int]:
        return [self.asked[second] for second in range(int(moment), int(self.clock.now()) + 1)]


class Fleet:
    """Sidecars that keep their leaves, all by one clock."""

    def __init__(self, count: int = 1, rate: float = 0.0) -> None:
        self.clock = ManualClock(wall=1_900_000_000.0)
        self.ca = MeshCA(ttl_s=LIFE_S)
        self.signer = Signer(self.clock, self.ca, rate)
        self.states = [ProxyState(ProxySettings(), self.clock, random.Random(seed)) for seed in range(count)]
        self.keepers = [LeafKeeper(state, self.signer.sign, lambda: None) for state in self.states]
        for state, keeper in zip(self.states, self.keepers, strict=True):
            state.snapshot = server_snapshot(self.ca, "web", 1, 2)
            state.tasks.spawn(keeper.run(), "leaf")

    @property
    def usable(self) -> int:
        return sum(state.usable_credentials() is not None for state in self.states)

    def tell(self, version: int) -> None:
        for state, keeper in zip(self.states, self.keepers, strict=True):
            state.snapshot = msgspec.structs.replace(state.snapshot, version=version)
            keeper.look()

    async def close(self) -> None:
        for state in self.states:
            await state.tasks.close()


def play(scene: Callable[[Fleet], Awaitable[None]], count: int = 1, rate: float = 0.0) -> None:
    async def main() -> None:
        fleet = Fleet(count, rate)
        try:
            await fleet.clock.advance(RETRY_S_MAX * 3)
            assert fleet.usable == count
            await scene(fleet)
        finally:
            await fleet.close()

    asyncio.run(main())


def test_a_signer_dead_for_a_whole_life_costs_nothing_before_and_brings_no_stampede_after() -> None:
    async def scene(fleet: Fleet) -> None:
        clock, signer = fleet.clock, fleet.signer
        signer.dead = True
        await clock.advance(LIFE_S * 0.9)
        assert fleet.usable == KEEPERS, "half of a life is there to mend things"
        await clock.advance(LIFE_S * 0.3)
        assert fleet.usable == 0, "what has ended proves nothing"

        died = clock.now()
        await clock.advance(300)
        asked = signer.asked_since(died)
        assert sum(asked) <= KEEPERS * (300 / (RETRY_S_MAX / 2) + 1), "each asks once in 15 to 30 s"
        assert max(asked) <= KEEPERS / 4, "and not all at once"

        back = clock.now()
        signer.dead = False
        await clock.advance(RETRY_S_MAX)
        assert fleet.usable >= KEEPERS * 0.6
        await clock.advance(RETRY_S_MAX)
        assert fleet.usable == KEEPERS
        assert max(signer.asked_since(back)) <= KEEPERS / 4
        assert signer.signed == 2 * KEEPERS, "one leaf each, then nobody asks"

        renewed = clock.now()
        await clock.advance(LIFE_S * 0.35)
        assert sum(signer.asked_since(renewed + 1)) == 0
        await clock.advance(LIFE_S * 0.3)
        assert fleet.usable == KEEPERS
        assert max(signer.asked_since(renewed)) <= KEEPERS / 4, "and the next renewals are spread as well"

    play(scene, KEEPERS, RATE)


def test_snapshots_that_change_on_all_hosts_do_not_bring_everybody_to_a_sick_signer() -> None:
    async def scene(fleet: Fleet) -> None:
        fleet.signer.dead = True
        await fleet.clock.advance(LIFE_S)
        began, before = fleet.clock.now(), sum(fleet.signer.asked.values())
        for version in range(2, 102):
            fleet.tell(version)
            await fleet.clock.advance(0.1)
        asked = sum(fleet.signer.asked.values()) - before
        assert asked <= KEEPERS * ((fleet.clock.now() - began) / (RETRY_S_MAX / 2) + 1)

    play(scene, KEEPERS, RATE)


def test_a_signer_that_is_back_before_the_end_is_not_noticed() -> None:
    async def scene(fleet: Fleet) -> None:
        fleet.signer.dead = True
        for _ in range(19):
            await fleet.clock.advance(LIFE_S * 0.05)
            assert fleet.usable == 1
        fleet.signer.dead = False
        for _ in range(10):
            await fleet.clock.advance(RETRY_S_MAX)
            assert fleet.usable == 1

    play(scene)


@pytest.mark.parametrize("hours", [-30, 2, 24 * 365])
def test_clocks_that_jump_everywhere_are_answered_with_one_new_leaf(hours: int) -> None:
    async def scene(fleet: Fleet) -> None:
        signed = fleet.signer.signed
        fleet.clock.jump_wall(hours * 3600.0)
        assert fleet.usable == 0
        await fleet.clock.advance(LOOK_S_MAX)
        assert fleet.usable == 1
        assert fleet.signer.signed == signed + 1

    play(scene)


@pytest.mark.parametrize(("ahead_s", "words"), [(86_400.0, "behind that"), (-86_400.0, "ahead of that")])
def test_a_host_whose_clock_is_wrong_is_told_asks_rarely_and_recovers_by_itself(
    ahead_s: float, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(fleet: Fleet) -> None:
        fleet.signer.ahead_s = ahead_s
        fleet.clock.jump_wall(-2 * 3600.0)
        signed = fleet.signer.signed
        await fleet.clock.advance(600)
        assert fleet.usable == 0
        assert fleet.signer.signed - signed <= 600 / (RETRY_S_MAX / 2) + 12, "no loop of signatures"
        fleet.signer.ahead_s = 0.0
        await fleet.clock.advance(RETRY_S_MAX)
        assert fleet.usable == 1

    play(scene)
    out = capsys.readouterr()
    assert words in out.out + out.err


def test_a_certificate_from_tomorrow_does_not_replace_one_that_serves() -> None:
    async def scene(fleet: Fleet) -> None:
        fleet.signer.ahead_s = 86_400.0
        await fleet.clock.advance(LIFE_S * 0.9)
        assert fleet.usable == 1
        await fleet.clock.advance(LIFE_S * 0.2)
        assert fleet.usable == 0

    play(scene)
