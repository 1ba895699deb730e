"""The core's promises, from seeds: who is alive is known to all, who died too, who left stays left, names are not stolen."""

from __future__ import annotations

import pytest

from chowk.agent.gossip.effects import (
    JoinOutcome,
    LeaveDone,
    MemberChanged,
    NameConflict,
    Reaped,
    UserEvent,
)
from chowk.agent.gossip.errors import GossipError
from chowk.agent.gossip.settings import MAX_DATAGRAM_BYTES, Settings
from support.gossip_sim import GossipCluster, Node, agent_member, node_name

QUICK = Settings(reconnect_timeout_s=60.0)


def cluster_of(
    count: int, seed: int = 1, settings: Settings = QUICK, **options: float
) -> tuple[GossipCluster, list[Node]]:
    cluster = GossipCluster(seed, settings, **options)  # type: ignore[arg-type]
    nodes = cluster.grow(count, settle=5.0)
    return cluster, nodes


def failures(nodes: list[Node]) -> list[tuple[str, str]]:
    """(who, whom) of every failure told."""
    return [
        (node.core.describe()["name"], change.member.name)
        for node in nodes
        for change in node.told_of(MemberChanged)
        if change.member.status == "failed"
    ]


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    def digest(seed: int) -> str:
        cluster = GossipCluster(seed, QUICK, loss=0.1, trace=True)
        nodes = cluster.grow(12, settle=5.0)
        cluster.kill(nodes[3])
        cluster.run(15.0)
        return cluster.digest()

    assert digest(7) == digest(7)
    assert digest(7) != digest(8)


@pytest.mark.parametrize("seed", range(5))
def test_all_that_join_at_once_know_each_other_within_seconds(seed: int) -> None:
    _, nodes = cluster_of(40, seed)
    assert all(len(node.core.members()) == 40 for node in nodes)
    assert all(node.told_of(JoinOutcome)[0].reason == "" for node in nodes[1:])
    assert [member.name for member in nodes[0].core.members()] == [node_name(number) for number in range(40)]
    assert max(node.largest_packet for node in nodes) <= MAX_DATAGRAM_BYTES


@pytest.mark.parametrize("seed", range(3))
def test_nobody_is_taken_for_dead_where_nothing_is_lost(seed: int) -> None:
    cluster, nodes = cluster_of(50, seed)
    cluster.run(40.0)
    assert failures(nodes) == []
    assert all(node.core.counters().get("refutations", 0) == 0 for node in nodes)


@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize("seed", range(10))
def test_a_dead_host_is_failed_on_every_agent_within_three_and_a_half_seconds(count: int, seed: int) -> None:
    cluster, nodes = cluster_of(count, seed)
    cluster.run(cluster.rng.random())
    cluster.kill(nodes[-1])
    cluster.run(3.5)
    assert {node.status(node_name(count - 1)) for node in nodes[:-1]} == {"failed"}


def test_ten_percent_loss_fails_nobody_and_a_dead_one_all_the_same() -> None:
    cluster, nodes = cluster_of(40, 3, loss=0.1)
    cluster.run(40.0)
    assert failures(nodes) == []
    cluster.kill(nodes[-1])
    cluster.run(30.0)
    assert {node.status(node_name(39)) for node in nodes[:-1]} == {"failed"}


def test_a_member_whose_udp_is_blocked_is_reached_by_tcp_and_stays() -> None:
    cluster, nodes = cluster_of(5)
    cluster.udp_blocked.add(nodes[4].address)
    cluster.run(30.0)
    assert failures(nodes[:4]) == []
    assert sum(node.core.counters().get("probes_by_tcp_only", 0) for node in nodes) > 0


def test_a_process_that_stood_still_comes_back_and_accuses_nobody() -> None:
    cluster, nodes = cluster_of(10)
    cluster.pause(nodes[2], 20.0)
    cluster.run(19.0)
    assert {node.status(node_name(2)) for node in nodes if node is not nodes[2]} == {"failed"}
    cluster.run(10.0)
    assert {node.status(node_name(2)) for node in nodes} == {"alive"}
    assert failures([nodes[2]]) == []
    assert nodes[2].core.counters()["stalls"] == 1


def test_a_short_stall_is_refuted_before_it_is_a_verdict() -> None:
    cluster, nodes = cluster_of(10)
    for _ in range(5):
        cluster.pause(nodes[2], 1.5)
        cluster.run(5.0)
    assert failures(nodes) == []
    assert nodes[2].core.counters()["refutations"] > 0


def test_who_leaves_is_leaving_then_left_on_all_and_is_never_resurrected() -> None:
    cluster, nodes = cluster_of(20)
    leaver = nodes[7]
    leaver.core.leave(cluster.now)
    cluster.touch(leaver)
    cluster.run(3.0)
    assert leaver.told_of(LeaveDone) == [LeaveDone()]
    cluster.kill(leaver)
    cluster.run(50.0)
    for node in nodes:
        if node is not leaver:
            statuses = [e.member.status for e in node.told_of(MemberChanged) if e.member.name == node_name(7)]
            assert statuses[-2:] == ["leaving", "left"]
            assert "failed" not in statuses


def test_leaving_alone_is_done_at_once() -> None:
    cluster = GossipCluster(1)
    (node,) = cluster.grow(1)
    node.core.leave(0.0)
    cluster.touch(node)
    assert node.told_of(LeaveDone) == [LeaveDone()]
    assert node.core.members()[0].status == "left"
    with pytest.raises(GossipError, match="left"):
        node.core.join(("10.0.0.9", 8301), 0.0)


def test_who_left_may_come_back() -> None:
    cluster, nodes = cluster_of(5)
    nodes[4].core.leave(cluster.now)
    cluster.touch(nodes[4])
    cluster.run(3.0)
    back = cluster.add(agent_member(4))
    cluster.join(back, nodes[0].address)
    cluster.run(3.0)
    assert {node.status(node_name(4)) for node in [*nodes[:4], back]} == {"alive"}


def test_a_leaving_member_that_dies_on_the_way_has_left() -> None:
    cluster, nodes = cluster_of(5)
    nodes[4].core.leave(cluster.now)
    cluster.touch(nodes[4])
    cluster.run(0.8)
    cluster.kill(nodes[4])
    cluster.run(10.0)
    assert {node.status(node_name(4)) for node in nodes[:4]} == {"left"}


def test_a_member_failed_for_long_is_reaped_everywhere_and_not_brought_back() -> None:
    cluster, nodes = cluster_of(6)
    cluster.kill(nodes[5])
    cluster.run(62.0)
    late = cluster.add(agent_member(6))
    cluster.join(late, nodes[0].address)
    cluster.run(120.0)
    for node in [*nodes[:5], late]:
        assert node_name(5) not in {member.name for member in node.core.members()}
    assert all(node.told_of(Reaped) == [Reaped(node_name(5))] for node in nodes[:5])


def test_a_newcomer_learns_of_the_failed_and_reaps_them_when_the_others_do() -> None:
    cluster, nodes = cluster_of(6)
    cluster.kill(nodes[5])
    cluster.run(40.0)
    late = cluster.add(agent_member(6))
    cluster.join(late, nodes[0].address)
    cluster.run(2.0)
    assert late.status(node_name(5)) == "failed"
    cluster.run(24.0)
    assert late.told_of(Reaped) == [Reaped(node_name(5))]


def test_force_leave_makes_the_failed_left_and_prune_forgets_it_for_good() -> None:
    cluster, nodes = cluster_of(6)
    with pytest.raises(GossipError, match="alive"):
        nodes[0].core.force_leave(node_name(5), cluster.now)
    with pytest.raises(GossipError, match="no member"):
        nodes[0].core.force_leave("nobody", cluster.now)
    cluster.kill(nodes[5])
    cluster.run(5.0)
    nodes[0].core.force_leave(node_name(5), cluster.now)
    cluster.touch(nodes[0])
    cluster.run(3.0)
    assert {node.status(node_name(5)) for node in nodes[:5]} == {"left"}
    cluster.pause(nodes[1], 5.0)
    nodes[0].core.prune(node_name(5), cluster.now)
    cluster.touch(nodes[0])
    cluster.run(55.0)
    for node in nodes[:5]:
        assert node.status(node_name(5)) == ""
        assert node.told_of(Reaped) == [Reaped(node_name(5))]


def test_a_restart_at_another_address_waits_for_the_old_one_to_fail_and_is_then_the_same_member() -> None:
    cluster, nodes = cluster_of(5)
    cluster.kill(nodes[4])
    moved = cluster.add(agent_member(4, host="10.9.9.9"))
    cluster.join(moved, nodes[0].address)
    cluster.run(0.2)
    assert moved.told_of(JoinOutcome)[0].reason == "name n0004 is still alive at 10.0.0.4:8301"
    cluster.run(4.0)
    cluster.join(moved, nodes[0].address)
    cluster.run(3.0)
    for node in nodes[:4]:
        (member,) = (one for one in node.core.members() if one.name == node_name(4))
        assert (member.address, member.status) == ("10.9.9.9", "alive")
        assert node.told_of(NameConflict) == []
    assert len(moved.core.members()) == 5


def test_a_quick_restart_at_the_same_address_with_other_tags_is_no_failure() -> None:
    cluster, nodes = cluster_of(5)
    again = cluster.add(agent_member(4, role="consul"))
    cluster.join(again, nodes[0].address)
    cluster.run(5.0)
    assert failures([*nodes[:4], again]) == []
    assert all(member.is_server for node in nodes[:4] for member in node.core.members() if member.name == node_name(4))


def test_a_stolen_name_is_refused_and_told() -> None:
    cluster, nodes = cluster_of(5)
    thief = cluster.add(agent_member(77, name=node_name(2)))
    cluster.by_name[node_name(2)] = nodes[2]
    cluster.join(thief, nodes[0].address)
    cluster.run(5.0)
    assert "name n0002 is held by node 00000002" in thief.told_of(JoinOutcome)[0].reason
    assert {node.status(node_name(2)) for node in nodes} == {"alive"}
    assert all(member.address != "10.0.0.77" for node in nodes for member in node.core.members())


def test_a_name_that_is_gossiped_by_a_thief_is_refused_by_all_and_the_conflict_is_told() -> None:
    # The thief has joined another cluster, where the name was free; now the two meet.
    cluster, nodes = cluster_of(5)
    others = [
        cluster.add(agent_member(77, name=node_name(2))),
        cluster.add(agent_member(78)),
        cluster.add(agent_member(79)),
    ]
    cluster.join(others[1], others[0].address)
    cluster.join(others[2], others[0].address)
    cluster.run(3.0)
    cluster.join(others[1], nodes[0].address)
    cluster.run(20.0)
    for node in nodes:
        (holder,) = (one for one in node.core.members() if one.name == node_name(2))
        assert (holder.address, holder.status) == ("10.0.0.2", "alive")
    assert any(node.told_of(NameConflict) for node in nodes)
    assert nodes[0].status(node_name(78)) == nodes[0].status(node_name(79)) == "alive"


def test_a_name_is_free_once_its_holder_left_or_failed() -> None:
    cluster, nodes = cluster_of(5)
    cluster.kill(nodes[2])
    cluster.run(5.0)
    heir = cluster.add(agent_member(77, name=node_name(2)))
    cluster.join(heir, nodes[0].address)
    cluster.run(5.0)
    for node in [*nodes[:2], *nodes[3:], heir]:
        (holder,) = (one for one in node.core.members() if one.name == node_name(2))
        assert (holder.address, holder.status) == ("10.0.0.77", "alive")


def test_a_node_id_that_a_live_member_has_is_refused_under_another_name() -> None:
    cluster, nodes = cluster_of(3)
    copy = cluster.add(agent_member(77, node_id=agent_member(1).id))
    cluster.join(copy, nodes[0].address)
    cluster.run(1.0)
    assert "is held by n0001 at 10.0.0.1:8301" in copy.told_of(JoinOutcome)[0].reason
    assert len(nodes[0].core.members()) == 3


def test_a_copied_data_directory_is_told_and_fights_the_original_for_a_few_rounds_a_minute_only() -> None:
    cluster, nodes = cluster_of(5)
    cluster.pause(nodes[2], 10.0)
    cluster.run(6.0)
    copy = cluster.add(agent_member(2, host="10.9.9.9"))
    cluster.join(copy, nodes[0].address)
    cluster.run(15.0)
    assert nodes[2].told_of(NameConflict) or copy.told_of(NameConflict)
    cluster.run(105.0)
    assert max(node.core.describe()["incarnation"] for node in (nodes[2], copy)) < 24
    assert len(nodes[0].core.members()) == 5


def test_another_datacenter_and_another_protocol_are_refused_with_a_reason() -> None:
    cluster, nodes = cluster_of(3)
    stranger = GossipCluster(2, Settings(datacenter="dc2")).add(agent_member(9, dc="dc2"))
    cluster.nodes[stranger.address] = stranger
    cluster.join(stranger, nodes[0].address)
    cluster.run(1.0)
    assert stranger.told_of(JoinOutcome)[0].reason == "this is datacenter 'dc1', not 'dc2'"
    assert len(nodes[0].core.members()) == 3
    assert len(stranger.core.members()) == 1


def test_joining_oneself_says_so() -> None:
    cluster, nodes = cluster_of(1)
    cluster.join(nodes[0], nodes[0].address)
    cluster.run(1.0)
    assert nodes[0].told_of(JoinOutcome)[0].reason == "this is you yourself"


def test_changed_tags_are_told_to_all() -> None:
    cluster, nodes = cluster_of(20)
    nodes[4].core.set_tags(nodes[4].core.members()[4].tags | {"build": "2.0.0"}, cluster.now)
    cluster.touch(nodes[4])
    cluster.run(2.0)
    assert {node.core.members()[4].tags["build"] for node in nodes} == {"2.0.0"}
    with pytest.raises(GossipError, match="512"):
        nodes[4].core.set_tags({"big": "x" * 600}, cluster.now)


@pytest.mark.parametrize("seed", range(3))
def test_incarnations_only_grow_and_a_healed_partition_converges(seed: int) -> None:
    cluster, nodes = cluster_of(24, seed, Settings(preservation=False))
    highest: dict[str, int] = {}

    def check() -> None:
        for node in nodes:
            for name, (_, incarnation) in node.core.describe()["members"].items():
                key = f"{node.address} {name}"
                assert incarnation >= highest.get(key, 0)
                highest[key] = incarnation

    cluster.partition(nodes[:8], nodes[8:16])
    for _ in range(40):
        cluster.run(1.0)
        check()
    assert nodes[0].status(node_name(20)) == "failed"
    cluster.heal()
    for _ in range(60):
        cluster.run(1.0)
        check()
    for node in nodes:
        assert [member.status for member in node.core.members()] == ["alive"] * 24


def test_a_user_event_reaches_each_once_and_newcomers_not_at_all() -> None:
    cluster, nodes = cluster_of(30, loss=0.2)
    nodes[3].core.user_event("deploy", b"web 1.2", cluster.now)
    cluster.touch(nodes[3])
    cluster.run(40.0)
    late = cluster.add(agent_member(30))
    cluster.join(late, nodes[0].address)
    cluster.run(60.0)
    assert all(node.told_of(UserEvent) == [UserEvent("deploy", b"web 1.2", 1, "n0003")] for node in nodes)
    assert late.told_of(UserEvent) == []
    late.core.user_event("second", b"", cluster.now)
    cluster.touch(late)
    cluster.run(40.0)
    assert nodes[5].told_of(UserEvent)[-1] == UserEvent("second", b"", 2, "n0030")


def test_coalesced_events_of_a_name_come_as_the_latest() -> None:
    cluster, nodes = cluster_of(5)
    for number in range(10):
        nodes[0].core.user_event("render", b"%d" % number, cluster.now, coalesce=True)
    cluster.touch(nodes[0])
    cluster.run(3.0)
    for node in nodes:
        assert [event.payload for event in node.told_of(UserEvent)] == [b"9"]


def test_an_event_over_the_limit_is_refused() -> None:
    _, nodes = cluster_of(1)
    with pytest.raises(GossipError, match="513"):
        nodes[0].core.user_event("big", b"x" * 513, 1.0)
    with pytest.raises(GossipError, match="name"):
        nodes[0].core.user_event("n" * 129, b"", 1.0)
