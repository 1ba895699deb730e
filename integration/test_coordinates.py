"""A real cluster learns where its agents are, keeps it through the death of the leader, and sorts by it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from harness.agent import AgentProcess
from harness.cluster import Cluster
from harness.waiting import eventually

PLACE = {"Error": 0.1, "Adjustment": 0.0, "Height": 0.001}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("coordinates"), servers=3, clients=1) as made:
        yield made


def known(agent: AgentProcess) -> dict[str, float]:
    """Node -> how unsure it is."""
    return {row["Node"]: row["Coord"]["Error"] for row in agent.get("/v1/coordinate/nodes")}


def test_every_agent_learns_where_it_is_and_all_are_told(cluster: Cluster) -> None:
    for agent in cluster.agents.values():
        eventually(lambda agent=agent: sum(error < 1.4 for error in known(agent).values()) == 4, f"{known(agent)}", 40)
    (area,) = cluster["client1"].get("/v1/coordinate/datacenters")
    assert [row["Node"] for row in area["Coordinates"]] == ["server1", "server2", "server3"]
    assert cluster["client1"].get("/v1/agent/self")["Coord"]["Error"] < 1.5


def test_rtt_estimates_what_loopback_takes(cluster: Cluster) -> None:
    done = cluster["client1"].cli("rtt", "server1", "server2")
    said = re.fullmatch(r"Estimated server1 <-> server2 rtt: (\d+\.\d{3}) ms \(using LAN coordinates\)\n", done.stdout)
    assert said, done.stderr
    assert 0 < float(said[1]) < 500
    assert "<-> client1 rtt" in cluster["client1"].cli("rtt", "server1").stdout
    assert "(using WAN coordinates)" in cluster["client1"].cli("rtt", "-wan", "server1.dc1", "server3.dc1").stdout


def test_nodes_that_somebody_else_measures_are_sorted_too_and_outlive_the_leader(cluster: Cluster) -> None:
    agent = cluster["client1"]
    for node, at in (("far", 0.9), ("farther", 1.9)):
        agent.put("/v1/catalog/register", {"Node": node, "Address": "127.0.0.1", "Service": {"Service": "db"}})
        body = {"Node": node, "Coord": {"Vec": [at] + [0.0] * 7, **PLACE}}
        assert agent.request("PUT", "/v1/coordinate/update", body)[0] == 200
    eventually(lambda: {"far", "farther"} <= set(known(agent)), "they are written", 20)
    leader = cluster.leader()
    cluster.kill(leader)
    others = [each for each in cluster.agents.values() if each is not leader]
    for each in others:
        eventually(lambda each=each: each.get("/v1/status/leader"), "another leader")
        near = [row["Node"] for row in each.get("/v1/catalog/service/db?near=_agent")]
        assert near == ["far", "farther"]
        assert [row["Node"] for row in each.get("/v1/catalog/service/db?near=farther")] == ["farther", "far"]
        nodes = [row["Node"] for row in each.get("/v1/catalog/nodes?near=_agent")]
        assert nodes[-2:] == ["far", "farther"]
    leader.start(wait=False)
    cluster.wait_ready()
    eventually(lambda: {"far", "farther"} <= set(known(leader)), "the old leader has caught up", 20)
