"""What must not join a cluster, and what it is told: other keys, stolen names, copied folders, wrong expectations."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from harness.agent import AgentProcess
from harness.cluster import Cluster
from harness.waiting import eventually


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("refusals"), servers=3) as made:
        yield made


def members(agent: AgentProcess) -> set[str]:
    return {row["Name"] for row in agent.get("/v1/agent/members") if row["Status"] == 1}


def wait_log(agent: AgentProcess, *words: str) -> None:
    eventually(lambda: all(word in agent.log() for word in words), f"{words} in\n{agent.log()}", 20)


def only(agent: AgentProcess) -> tuple[str, ...]:
    """The flags of a cluster's agent without its key."""
    return tuple(flag for flag in agent.flags if not flag.startswith("-encrypt"))


def test_an_agent_with_another_key_is_not_let_in_and_told_why(cluster: Cluster) -> None:
    stranger = cluster.add("stranger1")
    stranger.flags = (*only(stranger), f"-encrypt={stranger.cli('keygen').stdout.strip()}")
    stranger.start(wait=False)
    try:
        wait_log(stranger, "key")
        assert "stranger1" not in members(cluster["server1"])
    finally:
        stranger.stop()
        del cluster.agents["stranger1"]


def test_an_agent_without_a_key_is_not_let_in(cluster: Cluster) -> None:
    stranger = cluster.add("stranger2")
    stranger.flags = only(stranger)
    stranger.start(wait=False)
    try:
        wait_log(stranger, "encrypt")
        assert "stranger2" not in members(cluster["server1"])
    finally:
        stranger.stop()
        del cluster.agents["stranger2"]


def test_a_stolen_name_stays_its_owners(cluster: Cluster) -> None:
    owner = cluster["server2"]
    thief = cluster.add("thief")
    thief.node = "server2"
    thief.start(wait=False)
    try:
        wait_log(thief, "server2")
        row = next(row for row in cluster["server1"].get("/v1/agent/members") if row["Name"] == "server2")
        assert (row["Addr"], row["Status"]) == (owner.address, 1)
    finally:
        thief.stop()
        del cluster.agents["thief"]


def test_a_data_dir_copied_to_a_second_server_does_not_become_a_second_member(cluster: Cluster) -> None:
    owner = cluster["server3"]
    copy = cluster.add("server9")
    shutil.copytree(owner.data_dir, copy.data_dir, ignore=shutil.ignore_patterns("run", "*.lock"))
    copy.start(wait=False)
    try:
        servers = cluster["server1"].get("/v1/operator/raft/configuration")["Servers"]
        wait_log(copy, owner.get("/v1/agent/self")["Config"]["NodeID"])
        assert sorted(row["Address"] for row in servers) == sorted(
            f"{agent.address}:8300" for agent in cluster.servers if agent is not copy
        )
        assert cluster["server1"].request("PUT", "/v1/kv/still", "x")[0] == 200
    finally:
        copy.stop()
        del cluster.agents["server9"]


def test_a_server_that_expects_another_number_does_not_make_a_cluster_of_its_own(cluster: Cluster) -> None:
    odd = cluster.add("server7")
    odd.mode = ("-server", "-bootstrap-expect=5")
    odd.start(wait=False)
    try:
        eventually(lambda: odd.get("/v1/status/leader"), f"it found the cluster\n{odd.log()}", 30)
        assert odd.get("/v1/status/leader") == cluster["server1"].get("/v1/status/leader")
    finally:
        odd.stop()
        del cluster.agents["server7"]
