"""What autopilot decides: who takes part, who votes, who is removed, and above all who is not."""

from __future__ import annotations

from typing import Any

import pytest

from chowk.core.records.member import ALIVE, FAILED, LEFT, Member
from chowk.core.requests import RaftServer
from chowk.core.server_options import Autopilot
from chowk.server.leader.pilot import UNKNOWN_S, Action, Add, Pilot, Promote, Remove, failure_tolerance
from chowk.server.port import PeerProgress

SETTINGS = Autopilot()


class World:
    """Servers named a, b, c…; `a` leads."""

    def __init__(self, names: str = "abc", learners: str = "", **settings: Any) -> None:
        self.settings = Autopilot(**settings)
        self.members = {name: self.member(name) for name in names + learners}
        self.servers = [self.server(name, voter=name not in learners) for name in names + learners]
        self.contact = dict.fromkeys(names[1:] + learners, 0.1)
        self.lag = dict.fromkeys(names[1:] + learners, 0)
        self.pilot = Pilot()
        self.now = 1000.0

    @staticmethod
    def member(name: str, status: str = ALIVE, **more: Any) -> Member:
        tags = {"role": "consul", "dc": "dc1", "id": f"id-{name}", "port": "8300", "build": "1"}
        more.setdefault("address", f"10.0.0.{ord(name[0])}")
        return Member(name=name, port=8301, status=status, tags={**tags, **more.pop("tags", {})}, **more)

    @staticmethod
    def server(name: str, *, voter: bool = True) -> RaftServer:
        address = f"10.0.0.{ord(name)}:8300"
        return RaftServer(id=f"id-{name}", node=name, address=address, leader=name == "a", voter=voter)

    def fail(self, name: str, status: str = FAILED) -> None:
        self.members[name] = self.member(name, status)
        self.contact[name] = 60.0

    def after(self, seconds: float) -> Action | None:
        """Look every second for that long; the first thing that is to be done."""
        for _second in range(int(seconds) + 1):
            progress = {
                f"id-{name}": PeerProgress(match=1000 - self.lag[name], last_index=1000, last_contact_s=contact)
                for name, contact in self.contact.items()
            }
            self.healths = self.pilot.look(self.servers, self.members, progress, self.settings, 0.6, self.now)
            action = self.pilot.decide(self.healths, self.members, self.settings, "dc1", self.now)
            if action is not None:
                return action
            self.now += 1.0
        return None


def test_a_cluster_that_is_well_is_left_alone() -> None:
    world = World()
    assert world.after(600) is None
    assert failure_tolerance(world.healths) == 1


def test_a_new_server_takes_part_at_once_and_votes_when_it_has_settled() -> None:
    world = World()
    world.members["d"] = world.member("d")
    assert world.after(0) == Add("id-d", "10.0.0.100:8300", "d")
    world = World(learners="d")
    assert world.after(9) is None
    assert world.after(1) == Promote("id-d")


@pytest.mark.parametrize("trouble", ["lag", "silence", "gossip"])
def test_a_learner_in_trouble_does_not_vote_until_it_was_well_for_long_enough(trouble: str) -> None:
    world = World(learners="d")
    world.after(5)
    world.lag["d"] = 251 if trouble == "lag" else 0
    world.contact["d"] = 0.7 if trouble == "silence" else 0.1
    if trouble == "gossip":
        world.members["d"] = world.member("d", FAILED)
    assert world.after(30) is None
    world.lag["d"], world.contact["d"], world.members["d"] = 0, 0.1, world.member("d")
    assert world.after(9) is None
    assert world.after(1) == Promote("id-d")


@pytest.mark.parametrize(
    "member",
    [
        World.member("d", tags={"dc": "dc2"}),
        World.member("d", tags={"role": "node"}),
        World.member("d", tags={"id": ""}),
        World.member("d", tags={"port": "x"}),
        World.member("d", FAILED),
        World.member("d", tags={"id": "id-b"}),
        World.member("d", address="10.0.0.98"),
    ],
)
def test_who_is_no_server_of_this_cluster_or_claims_what_is_anothers_is_not_added(member: Member) -> None:
    world = World()
    world.members["d"] = member
    assert world.after(600) is None


def test_two_servers_with_one_id_are_both_kept_out() -> None:
    world = World()
    world.members |= {name: world.member(name, tags={"id": "id-x"}) for name in "de"}
    assert world.after(60) is None


def test_a_server_with_a_new_address_is_noted() -> None:
    world = World()
    world.members["b"] = world.member("b", address="10.0.9.9")
    assert world.after(0) == Add("id-b", "10.0.9.9:8300", "b")


def test_a_server_that_left_is_removed_at_once_but_never_the_leader_itself() -> None:
    world = World()
    world.members["b"] = world.member("b", LEFT)
    assert world.after(0) == Remove("id-b", "it left")
    world = World()
    world.members["a"] = world.member("a", LEFT)
    assert world.after(600) is None


def test_a_dead_server_is_removed_after_a_while_and_only_when_it_is_really_silent() -> None:
    world = World()
    world.fail("c")
    assert world.after(9) is None
    assert world.after(1) == Remove("id-c", "it failed")
    world = World()
    world.fail("c")
    world.contact["c"] = 0.3
    assert world.after(600) is None


def test_one_that_comes_back_in_time_stays() -> None:
    world = World()
    world.fail("c")
    world.after(8)
    world.contact["c"], world.members["c"] = 0.1, world.member("c")
    world.after(1)
    world.fail("c")
    assert world.after(9) is None


def test_dead_servers_stay_when_cleanup_is_off_or_too_few_would_be_left() -> None:
    for settings in ({"cleanup_dead_servers": False}, {"min_quorum": 3}):
        world = World(**settings)
        world.fail("c")
        assert world.after(600) is None
    world = World(min_quorum=2)
    world.fail("c")
    assert world.after(60) == Remove("id-c", "it failed")


def test_no_voter_is_removed_when_more_than_a_minority_is_dead() -> None:
    world = World("abc")
    world.fail("b")
    world.fail("c")
    assert world.after(600) is None
    world = World("abcde")
    for name in "cde":
        world.fail(name)
    assert world.after(600) is None
    world = World("ab")
    world.fail("b")
    assert world.after(600) is None


def test_a_dead_server_stays_while_too_few_of_the_others_are_healthy() -> None:
    world = World("abcde")
    world.fail("e")
    world.lag["c"] = world.lag["d"] = 300
    assert world.after(600) is None
    world.lag["c"] = 0
    assert world.after(0) == Remove("id-e", "it failed")


def test_two_of_five_go_one_at_a_time() -> None:
    world = World("abcde")
    world.fail("d")
    world.fail("e")
    assert world.after(60) == Remove("id-d", "it failed")
    world.servers = [server for server in world.servers if server.id != "id-d"]
    assert world.after(0) == Remove("id-e", "it failed")


def test_a_dead_learner_goes_however_many_voters_there_are() -> None:
    world = World("ab", learners="d")
    world.fail("d")
    assert world.after(60) == Remove("id-d", "it failed")


def test_a_server_that_gossip_does_not_know_is_kept_for_long() -> None:
    world = World()
    del world.members["c"]
    world.contact["c"] = 60.0
    assert world.after(UNKNOWN_S - 1) is None
    assert world.after(1) == Remove("id-c", "gossip does not know it")


def test_a_whole_cluster_that_gossip_lost_sight_of_stays_as_it_is() -> None:
    world = World("abcde")
    world.members.clear()
    assert world.after(2 * UNKNOWN_S) is None


def test_a_server_set_up_anew_at_its_old_address_takes_the_old_ones_place() -> None:
    world = World()
    del world.members["c"]
    world.members["c2"] = world.member("c2", tags={"id": "id-new"}, address=f"10.0.0.{ord('c')}")
    assert world.after(0) is None, "Raft still hears the old one"
    world.contact["c"] = 9.0
    assert world.after(0) == Remove("id-c", "c2 is at its address now")
    world.servers = [server for server in world.servers if server.id != "id-c"]
    assert world.after(0) == Add("id-new", "10.0.0.99:8300", "c2")


def test_failure_tolerance_counts_healthy_voters_alone() -> None:
    world = World("abcde", learners="f")
    world.after(0)
    assert failure_tolerance(world.healths) == 2
    world.fail("e")
    world.after(0)
    assert failure_tolerance(world.healths) == 1


def test_a_server_alone_without_gossip_is_well() -> None:
    world = World("a")
    world.members = {}
    assert world.after(60) is None
    assert [health.healthy for health in world.healths] == [True]
