"""A side that is cut off keeps its view and marks it; a majority judges as ever; dead is dead in the end."""

from __future__ import annotations

import pytest

from chowk.agent.gossip.effects import MemberChanged
from chowk.agent.gossip.settings import Settings
from support.gossip_sim import GossipCluster, Node, node_name


def statuses(node: Node) -> list[str]:
    """How a node sees all, by name; "kept" for those held alive."""
    return ["kept" if member.kept else member.status for member in node.core.members()]


def ever(node: Node, status: str) -> bool:
    """Whether it ever told of a member in that status."""
    return any(change.member.status == status for change in node.told_of(MemberChanged))


def cluster_of(
    count: int, servers: int, seed: int = 1, settings: Settings | None = None
) -> tuple[GossipCluster, list[Node]]:
    cluster = GossipCluster(seed, settings)
    return cluster, cluster.grow(count, servers=servers, settle=5.0)


@pytest.mark.parametrize(("count", "cut"), [(7, 2), (7, 3), (10, 1), (10, 4), (30, 3), (30, 12)])
@pytest.mark.parametrize("servers", [0, 5])
@pytest.mark.parametrize("seed", range(2))
def test_a_minority_keeps_its_view_marked_and_the_majority_fails_the_minority(
    count: int, cut: int, servers: int, seed: int
) -> None:
    cluster, nodes = cluster_of(count, servers, seed)
    minority, majority = (nodes[:cut], nodes[cut:]) if cut < 3 or not servers else (nodes[-cut:], nodes[:-cut])
    cluster.partition(minority, majority)
    cluster.run(60.0)
    for node in minority:
        assert not ever(node, "failed")
        assert statuses(node).count("kept") >= 4
        assert set(statuses(node)) == {"alive", "kept"}
    for node in majority:
        assert statuses(node).count("failed") == cut
        assert statuses(node).count("alive") == count - cut
    cluster.heal()
    cluster.run(60.0)
    assert all(statuses(node) == ["alive"] * count for node in nodes)


@pytest.mark.parametrize("seed", range(5))
def test_three_nodes_that_lose_one_judge_as_ever(seed: int) -> None:
    cluster, nodes = cluster_of(3, 3, seed)
    cluster.kill(nodes[2])
    cluster.run(5.0)
    assert [statuses(node) for node in nodes[:2]] == [["alive", "alive", "failed"]] * 2


@pytest.mark.parametrize("seed", range(3))
def test_an_even_split_is_kept_on_both_sides(seed: int) -> None:
    cluster, nodes = cluster_of(6, 0, seed)
    cluster.partition(nodes[:3], nodes[3:])
    cluster.run(30.0)
    assert not any(ever(node, "failed") for node in nodes)


@pytest.mark.parametrize("seed", range(3))
def test_a_rack_of_clients_that_died_is_failed_in_seconds_by_the_side_with_the_servers(seed: int) -> None:
    cluster, nodes = cluster_of(23, 3, seed)
    for node in nodes[8:]:
        cluster.kill(node)
    cluster.run(20.0)
    for node in nodes[:8]:
        assert statuses(node) == ["alive"] * 8 + ["failed"] * 15


def test_many_clients_without_the_servers_majority_keep_their_view() -> None:
    cluster, nodes = cluster_of(8, 3)
    cluster.partition([*nodes[:2], nodes[3]], [nodes[2], *nodes[4:]])
    cluster.run(30.0)
    # Two of three servers with one client fail the others; those, more heads, lost 3 of 7, which is not much: they fail too.
    assert statuses(nodes[0]).count("failed") == 5
    cluster, nodes = cluster_of(8, 3)
    cluster.partition(nodes[:4], nodes[4:])
    cluster.run(30.0)
    assert statuses(nodes[0]).count("failed") == 4
    assert statuses(nodes[7]).count("kept") == 4


def test_members_that_die_one_by_one_over_minutes_are_failed_to_the_last() -> None:
    cluster, nodes = cluster_of(8, 0)
    for node in nodes[1:]:
        cluster.kill(node)
        cluster.run(60.0)
    assert statuses(nodes[0]) == ["alive"] + ["failed"] * 7


def test_a_real_mass_death_is_kept_for_a_bounded_time_only_and_can_be_ended_by_hand() -> None:
    cluster, nodes = cluster_of(9, 0, settings=Settings(preservation_limit_s=120.0))
    for node in nodes[3:]:
        cluster.kill(node)
    cluster.run(100.0)
    assert statuses(nodes[0]) == ["alive"] * 3 + ["kept"] * 6
    nodes[0].core.force_leave(node_name(8), cluster.now)
    cluster.touch(nodes[0])
    cluster.run(2.0)
    assert {node.status(node_name(8)) for node in nodes[:3]} == {"left"}
    cluster.run(60.0)
    for node in nodes[:3]:
        assert statuses(node) == ["alive"] * 3 + ["failed"] * 5 + ["left"]


def test_who_is_kept_and_answers_again_is_kept_no_more_while_the_others_stay() -> None:
    cluster, nodes = cluster_of(10, 0)
    cluster.partition(nodes[:2], nodes[2:])
    cluster.run(30.0)
    cluster.partition([*nodes[:2], nodes[2]], nodes[3:])
    cluster.run(20.0)
    assert statuses(nodes[0]) == ["alive"] * 3 + ["kept"] * 7


def test_switched_off_it_withholds_nothing() -> None:
    cluster, nodes = cluster_of(10, 0, settings=Settings(preservation=False))
    cluster.partition(nodes[:2], nodes[2:])
    cluster.run(30.0)
    assert statuses(nodes[0]) == ["alive"] * 2 + ["failed"] * 8
