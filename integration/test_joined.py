"""Two running clusters with the same key and datacenter: told to join each other they refuse, say why, and go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent import AgentProcess
from harness.cluster import Cluster
from harness.waiting import eventually


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Cluster]]:
    """One of three servers and an agent, one of a single server."""
    first = Cluster(tmp_path_factory.mktemp("first"), servers=3, clients=1)
    second = Cluster(tmp_path_factory.mktemp("second"), servers=1)
    for agent in second.agents.values():
        agent.node = f"other-{agent.node}"
        agent.flags = tuple(f"-encrypt={first.key}" if flag.startswith("-encrypt") else flag for flag in agent.flags)
    with first, second:
        yield first, second


def names(agent: AgentProcess) -> list[str]:
    return sorted(row["Name"] for row in agent.get("/v1/agent/members"))


def cluster_of(agent: AgentProcess) -> str:
    return next(row["Tags"].get("cluster", "") for row in agent.get("/v1/agent/members") if row["Name"] == agent.node)


def check_unharmed(first: Cluster, second: Cluster) -> None:
    for cluster, expected in ((first, ["client1", "server1", "server2", "server3"]), (second, ["other-server1"])):
        for agent in cluster.agents.values():
            assert names(agent) == expected
            assert sorted(row["Node"] for row in agent.get("/v1/catalog/nodes")) == expected
            assert agent.request("PUT", f"/v1/kv/still/{agent.node}", "x", timeout_s=20)[0] == 200
        servers = cluster.servers[0].get("/v1/operator/raft/configuration")["Servers"]
        assert sorted(row["Node"] for row in servers) == [name for name in expected if "server" in name]


def wait_names(first: Cluster, second: Cluster) -> None:
    """A cluster that was founded a moment ago has its name a second later."""
    for agent in (*first.servers, *second.servers):
        eventually(lambda agent=agent: cluster_of(agent), f"{agent.node} tells its cluster\n{agent.log()}", 20)


def test_servers_of_one_cluster_tell_the_same_name_and_those_of_two_different_ones(
    clusters: tuple[Cluster, Cluster],
) -> None:
    first, second = clusters
    wait_names(first, second)
    assert len({cluster_of(agent) for agent in first.servers}) == 1
    assert cluster_of(first["server1"]) != cluster_of(second["server1"])


@pytest.mark.parametrize("joiner", ["server1", "client1"])
def test_join_is_refused_with_words_and_both_clusters_go_on(clusters: tuple[Cluster, Cluster], joiner: str) -> None:
    first, second = clusters
    wait_names(first, second)
    done = first[joiner].cli("join", second["server1"].address)
    assert done.returncode == 1
    for word in (
        "two clusters",
        cluster_of(first["server1"]),
        cluster_of(second["server1"]),
        "other-server1",
        "own key",
    ):
        assert word in done.stderr
    assert second["server1"].cli("join", first[joiner].address).returncode == 1
    check_unharmed(first, second)


def test_a_server_that_is_configured_to_join_the_other_cluster_stays_in_its_own_after_a_restart(
    clusters: tuple[Cluster, Cluster], tmp_path: Path
) -> None:
    first, second = clusters
    wait_names(first, second)
    lost = second["server1"]
    lost.stop()
    lost.flags = (*lost.flags, f"-retry-join={first['server1'].address}:8301")
    lost.start(wait=False)
    eventually(lambda: "two clusters" in lost.log(), f"it is told\n{lost.log()}", 30)
    second.wait_ready()
    check_unharmed(first, second)
