"""Two clusters with the same key: joined by mistake they stay two, and what is one cluster is never torn by it."""

from __future__ import annotations

import pytest

from chowk.agent.gossip.clusters import Server, joined_by_mistake
from chowk.agent.gossip.effects import JoinOutcome
from chowk.agent.gossip.settings import MAX_REASON_BYTES, Settings
from support.gossip_sim import GossipCluster, Node, agent_member

QUICK = Settings(push_pull_interval_s=5.0, reconnect_interval_s=2.0)


def pool(world: GossipCluster, first: int, cluster: str, servers: int = 3, clients: int = 2) -> list[Node]:
    """A settled cluster of servers and clients, with names from `first` on."""
    nodes = [world.add(agent_member(first + place, role="consul", cluster=cluster)) for place in range(servers)]
    nodes += [world.add(agent_member(first + servers + place)) for place in range(clients)]
    for node in nodes[1:]:
        world.join(node, nodes[0].address)
    world.run(5.0)
    assert all(len(node.core.members()) == len(nodes) for node in nodes)
    return nodes


def tell_cluster(world: GossipCluster, node: Node, cluster: str) -> None:
    (me,) = [each for each in node.core.members() if (each.address, each.port) == node.address]
    node.core.set_tags({**me.tags, "cluster": cluster}, world.now)
    world.touch(node)


def reason(world: GossipCluster, node: Node, other: Node) -> str:
    node.told.clear()
    world.join(node, other.address)
    world.run(2.0)
    (outcome,) = node.told_of(JoinOutcome)
    return str(outcome.reason)


@pytest.mark.parametrize("joiner", [0, 4], ids=["a server", "an agent without one"])
@pytest.mark.parametrize("joined", [0, 4], ids=["to a server", "to an agent without one"])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_two_running_clusters_are_not_joined_whoever_asks_whom(joiner: int, joined: int, loss: float) -> None:
    world = GossipCluster(3, QUICK, loss=loss)
    red, blue = pool(world, 0, "red"), pool(world, 100, "blue")
    why = reason(world, red[joiner], blue[joined])
    assert "two clusters" in why
    for words in ("red (n0000, n0001, n0002)", "blue (n0100, n0101, n0102)", "own key"):
        assert words in why
    assert not why.startswith(("name ", "node id "))
    world.run(30.0)
    assert [len(node.core.members()) for node in (*red, *blue)] == [5] * 10
    assert {member.status for node in (*red, *blue) for member in node.core.members()} == {"alive"}


def test_agents_without_servers_and_servers_that_are_in_no_cluster_yet_join_anybody() -> None:
    world = GossipCluster(4, QUICK)
    red = pool(world, 0, "red")
    alone = world.add(agent_member(50))
    blank = pool(world, 60, "", servers=2, clients=1)
    assert reason(world, alone, red[0]) == ""
    assert reason(world, blank[0], red[4]) == ""
    world.run(10.0)
    assert {len(node.core.members()) for node in (*red, alone, *blank)} == {9}


def test_servers_that_a_recovery_renamed_come_back_one_by_one_while_the_others_still_have_the_old_name() -> None:
    world = GossipCluster(5, QUICK)
    nodes = pool(world, 0, "before", servers=3)
    for number in range(3):
        again = world.add(agent_member(number, role="consul", cluster="after"))
        assert reason(world, again, nodes[4]) == ""
        nodes[number] = again
    world.run(10.0)
    for node in nodes:
        assert [member.cluster for member in node.core.members()] == ["after"] * 3 + ["", ""]


def test_a_partition_heals_although_one_side_was_recovered_under_another_name() -> None:
    world = GossipCluster(6, QUICK)
    nodes = pool(world, 0, "before", servers=3, clients=3)
    world.partition([nodes[0], nodes[3]], nodes[1:3] + nodes[4:])
    world.run(20.0)
    for node in nodes[1:3]:
        tell_cluster(world, node, "after")
    world.heal()
    world.run(60.0)
    assert {member.status for node in nodes for member in node.core.members()} == {"alive"}


def test_a_strange_server_at_the_address_of_a_dead_member_is_not_taken_in() -> None:
    world = GossipCluster(7, QUICK)
    red = pool(world, 0, "red")
    world.kill(red[2])
    world.run(60.0)
    assert red[0].status("n0002") == "failed"
    blue = pool(world, 100, "blue", servers=1, clients=0)
    moved = world.add(agent_member(200, role="consul", cluster="blue", host=red[2].address[0]))
    assert reason(world, moved, blue[0].address and blue[0]) == ""
    world.run(60.0)
    assert [member.name for member in moved.core.members()] == ["n0100", "n0200"]
    assert all(red[0].status(name) == "" for name in ("n0100", "n0200"))


def test_a_refusal_fits_on_the_wire_whatever_the_names() -> None:
    def side(letter: str) -> list[Server]:
        cluster = letter * 32
        return [
            Server(f"{letter * 100}{number}", {"id": f"{letter}{number}", "cluster": cluster}, True)
            for number in range(9)
        ]

    text = joined_by_mistake(side("a"), side("b"))
    assert len(text.encode()) <= MAX_REASON_BYTES
    assert "and 6 more" in text
    assert text.endswith("data_dir")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([], [Server("b", {"id": "2", "cluster": "blue"}, True)]),
        ([Server("a", {"id": "1"}, True)], [Server("b", {"id": "2", "cluster": "blue"}, True)]),
        ([Server("a", {"id": "1", "cluster": "red"}, False)], [Server("b", {"id": "2", "cluster": "blue"}, True)]),
        ([Server("a", {"id": "1", "cluster": "red"}, True)], [Server("b", {"id": "2", "cluster": "red"}, True)]),
    ],
    ids=["no servers", "in no cluster yet", "dead", "the same cluster"],
)
def test_what_may_be_one_cluster_is_not_refused(ours: list[Server], theirs: list[Server]) -> None:
    assert joined_by_mistake(ours, theirs) == ""
    assert joined_by_mistake(theirs, ours) == ""
