"""The duty that follows gossip: after a report of this term, a few writes at a time, nothing when nothing changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chowk.core.cluster_requests import MembersReport
from chowk.core.errors import TooManyRequests
from chowk.core.records.member import FAILED, Member
from chowk.core.runtime.clock import ManualClock
from chowk.core.server_options import ServerOptions
from chowk.server.leader.duties import LeaderDuties
from chowk.server.leader.members import BATCH_WRITES, FRESH_S, UNKNOWN_S, Members
from chowk.server.rpc.board import ClusterBoard
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine
from support.consensus import SoloConsensus


class Counted(SoloConsensus):
    def __init__(self, machine: StoreMachine) -> None:
        super().__init__(machine)
        self.open = self.open_max = self.failures = 0

    async def propose(self, entry: bytes, *, timeout_s: float) -> object:
        self.open += 1
        self.open_max = max(self.open, self.open_max)
        try:
            if self.failures:
                self.failures -= 1
                raise TooManyRequests("later")
            return await super().propose(entry, timeout_s=timeout_s)
        finally:
            self.open -= 1


class Scene:
    def __init__(self) -> None:
        self.machine = StoreMachine()
        self.consensus = Counted(self.machine)
        self.clock = ManualClock()
        self.board = ClusterBoard(())
        options = ServerOptions(node_id="", node_name="me", socket_path="")
        duty = Members(options, self.machine, Writes(self.consensus, self.clock), self.board, self.clock)
        self.duties = LeaderDuties(self.clock)
        self.duties.add(duty)
        self.consensus.on_leadership(self.duties.led)

    async def report(self, *members: Member, reaped: tuple[str, ...] = ()) -> None:
        await self.clock.advance(0.1)
        self.board.report(MembersReport(members=members, reaped=reaped), "ours")
        await self.clock.advance(5.0)

    @property
    def nodes(self) -> list[str]:
        return sorted(self.machine.store.nodes)


@asynccontextmanager
async def leading() -> AsyncIterator[Scene]:
    scene = Scene()
    await scene.consensus.start()
    try:
        yield scene
    finally:
        await scene.duties.close()


def named(*names: str, status: str = "alive") -> tuple[Member, ...]:
    return tuple(Member(name=name, address="127.0.0.1", port=8301, status=status) for name in names)


def test_a_new_leader_writes_at_once_what_its_agent_said_a_moment_ago() -> None:
    async def scene() -> None:
        async with leading() as world:
            await world.report(*named("a"))
            world.consensus.lead(False)
            await world.report(*named("a", "b"))
            world.consensus.lead(True)
            await world.clock.advance(0.1)
            assert world.nodes == ["a", "b"]

    asyncio.run(scene())


def test_a_new_leader_writes_nothing_by_an_old_report() -> None:
    async def scene() -> None:
        async with leading() as world:
            await world.report(*named("a"))
            world.consensus.lead(False)
            await world.report(*named("a", "b"))
            await world.clock.advance(FRESH_S + 1)
            world.consensus.lead(True)
            await world.clock.advance(5.0)
            assert world.nodes == ["a"]
            await world.report(*named("a", "b"))
            assert world.nodes == ["a", "b"]

    asyncio.run(scene())


def test_a_report_that_repeats_what_is_known_writes_nothing() -> None:
    async def scene() -> None:
        async with leading() as world:
            await world.report(*named("a", "b"))
            index = world.consensus.applied_index
            for _again in range(3):
                await world.report(*named("a", "b"))
            assert world.consensus.applied_index == index

    asyncio.run(scene())


def test_many_members_are_written_a_few_at_a_time() -> None:
    async def scene() -> None:
        async with leading() as world:
            await world.report(*named(*(f"n{number}" for number in range(300))))
            assert len(world.nodes) == 300
            assert world.consensus.open_max <= BATCH_WRITES

    asyncio.run(scene())


def test_a_write_that_was_refused_is_tried_again() -> None:
    async def scene() -> None:
        async with leading() as world:
            world.consensus.failures = 3
            await world.report(*named("a", "b"))
            assert world.nodes == ["a", "b"]

    asyncio.run(scene())


def test_what_was_reaped_while_another_led_is_removed_by_the_next_leader() -> None:
    async def scene() -> None:
        async with leading() as world:
            await world.report(*named("a", "b"))
            world.consensus.lead(False)
            await world.report(*named("a"), reaped=("b",))
            world.consensus.lead(True)
            await world.report(*named("a"))
            assert world.nodes == ["a"]

    asyncio.run(scene())


def test_a_node_that_gossip_does_not_know_any_more_is_removed_only_after_a_while() -> None:
    async def scene() -> None:
        async with leading() as world:
            await world.report(*named("a", "c"), *named("b", status=FAILED))
            await world.report(*named("a"))
            assert world.nodes == ["a", "c"]
            await world.clock.advance(UNKNOWN_S / 2)
            await world.report(*named("a", "c"))
            await world.report(*named("a"))
            await world.clock.advance(UNKNOWN_S - 20)
            await world.report(*named("a"))
            assert world.nodes == ["a", "c"]
            await world.clock.advance(UNKNOWN_S)
            await world.report(*named("a"))
            assert world.nodes == ["a"]

    asyncio.run(scene())


def test_duties_of_two_terms_never_run_beside_each_other() -> None:
    async def scene() -> None:
        class Slow:
            name = "slow"
            running = most = runs = 0

            async def run(self) -> None:
                self.runs += 1
                self.running += 1
                self.most = max(self.most, self.running)
                try:
                    await asyncio.Event().wait()
                finally:
                    for _tick in range(5):
                        await asyncio.sleep(0)
                    self.running -= 1

        slow, clock = Slow(), ManualClock()
        duties = LeaderDuties(clock)
        duties.add(slow)
        for _term in range(3):
            duties.led(True)
            await clock.advance(0.1)
            duties.led(False)
            duties.led(True)
            duties.led(False)
        await clock.advance(0.1)
        assert (slow.most, slow.running, slow.runs) == (1, 0, 3)
        await duties.close()

    asyncio.run(scene())


def test_a_duty_that_breaks_is_run_again() -> None:
    async def scene() -> None:
        class Broken:
            name = "broken"
            runs = 0

            async def run(self) -> None:
                self.runs += 1
                if self.runs < 3:
                    raise KeyError("a bug")

        broken, clock = Broken(), ManualClock()
        duties = LeaderDuties(clock)
        duties.add(broken)
        duties.led(True)
        await clock.advance(60.0)
        assert broken.runs == 3
        await duties.close()

    asyncio.run(scene())


def test_the_servers_of_a_cluster_that_was_joined_by_mistake_do_not_come_into_the_catalog() -> None:
    async def scene() -> None:
        async with leading() as world:
            ours, theirs = (
                Member(name=name, address="127.0.0.1", port=8301, tags={"role": "consul", "cluster": name})
                for name in ("ours", "theirs")
            )
            await world.report(ours, theirs)
            assert world.nodes == ["ours"]

    asyncio.run(scene())
