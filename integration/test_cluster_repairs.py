"""A server's disk goes wrong, and what the operator does about it: as docs/operations.md says, while the others serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from harness.agent import AgentProcess
from harness.cluster import Cluster
from harness.waiting import eventually


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("repairs"), servers=3) as made:
        yield made


def follower(cluster: Cluster) -> AgentProcess:
    leader = cluster.leader()
    return next(agent for agent in cluster.servers if agent is not leader)


def write(agent: AgentProcess, prefix: str) -> None:
    for number in range(20):
        assert agent.request("PUT", f"/v1/kv/{prefix}/{number}", "v" * 300)[0] == 200


def log_of(agent: AgentProcess) -> Path:
    return max((agent.data_dir / "server" / "raft" / "log").glob("*.log"))


def reached(cluster: Cluster, agent: AgentProcess) -> bool:
    """Whether its server has every entry, as the leader knows it."""
    _status, _headers, body = cluster.leader().request("GET", "/v1/operator/autopilot/health")
    found = {row["Name"]: row for row in msgspec.json.decode(body)["Servers"]}
    return bool(found[agent.node]["LastIndex"] >= max(row["LastIndex"] for row in found.values()))


def voter(cluster: Cluster, agent: AgentProcess) -> bool:
    rows = cluster.leader().get("/v1/operator/raft/configuration")["Servers"]
    return any(row["Node"] == agent.node and row["Voter"] for row in rows)


def test_a_server_that_lost_acknowledged_entries_gets_them_again_and_is_told_of(cluster: Cluster) -> None:
    victim = follower(cluster)
    write(cluster.leader(), "kept")
    eventually(lambda: reached(cluster, victim), "it has all")
    cluster.kill(victim)
    log = log_of(victim)
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    leader = cluster.leader()
    victim.start(wait=False)
    cluster.wait_ready()
    eventually(lambda: reached(cluster, victim), f"it has all again\n{victim.log()}")
    if cluster.leader() is leader:
        eventually(lambda: "had lost entries that it acknowledged" in leader.log(), "the leader says so")


def test_a_damaged_log_stops_one_server_and_an_emptied_one_comes_back_by_the_book(cluster: Cluster) -> None:
    victim = follower(cluster)
    write(cluster.leader(), "more")
    victim.stop()
    log = log_of(victim)
    damaged = bytearray(log.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    log.write_bytes(damaged)
    victim.start(wait=False)
    assert victim.process is not None
    assert victim.process.wait(20) == 1
    assert f"{log} is damaged at byte" in victim.log()
    assert "move the folder away and let this server join them again" in victim.log()
    write(cluster.leader(), "meanwhile")

    (victim.data_dir / "server").rename(victim.folder / "damaged")
    victim.start(wait=False)
    eventually(lambda: "its data is gone" in victim.log(), f"it is not let in as it was\n{victim.log()}", 30)
    own = (victim.data_dir / "node-id").read_text().strip()
    removed = cluster.leader().cli("operator", "raft", "remove-peer", f"-id={own}")
    assert removed.returncode == 0, removed.stderr
    eventually(lambda: voter(cluster, victim), f"it votes again\n{victim.log()}", 40)
    eventually(lambda: victim.request("GET", "/v1/kv/meanwhile/19?stale")[0] == 200, "it has all again")
