"""Three servers and an agent without one, as real processes with a key: what their users see of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent import AgentProcess
from harness.cluster import Cluster
from harness.waiting import eventually


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), servers=3, clients=1) as made:
        yield made


def peers(agent: AgentProcess) -> dict[str, bool]:
    """Node -> whether it votes, as Raft has it."""
    return {row["Node"]: row["Voter"] for row in agent.get("/v1/operator/raft/configuration")["Servers"]}


def statuses(agent: AgentProcess) -> dict[str, int]:
    return {row["Name"]: row["Status"] for row in agent.get("/v1/agent/members")}


def test_every_agent_sees_the_same_members_and_servers(cluster: Cluster) -> None:
    for agent in cluster.agents.values():
        assert statuses(agent) == dict.fromkeys(cluster.agents, 1)
        assert peers(agent) == {"server1": True, "server2": True, "server3": True}
        assert len(agent.get("/v1/status/peers")) == 3
    table = cluster["client1"].cli("members").stdout.splitlines()
    assert table[0].split() == ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC"]
    assert sorted((row.split()[0], row.split()[3]) for row in table[1:]) == [
        ("client1", "client"), ("server1", "server"), ("server2", "server"), ("server3", "server"),
    ]  # fmt: skip


def test_what_is_written_through_one_agent_is_read_through_every_other(cluster: Cluster) -> None:
    for number, writer in enumerate(cluster.agents.values()):
        assert writer.request("PUT", f"/v1/kv/from/{writer.node}", str(number))[0] == 200
        for reader in cluster.agents.values():
            assert reader.get(f"/v1/kv/from/{writer.node}?consistent")[0]["Key"] == f"from/{writer.node}"
            assert reader.get(f"/v1/kv/from/{writer.node}")[0]["Key"] == f"from/{writer.node}"


def test_a_service_of_one_agent_is_in_the_dns_of_all(cluster: Cluster) -> None:
    cluster["client1"].put("/v1/agent/service/register", {"Name": "billing", "Port": 8080})
    for agent in cluster.agents.values():
        eventually(lambda agent=agent: agent.dig("billing.service.consul") == [cluster["client1"].address], agent.node)


def test_every_server_offers_the_service_consul(cluster: Cluster) -> None:
    rows = cluster["client1"].get("/v1/health/service/consul?passing")
    assert sorted(row["Node"]["Node"] for row in rows) == ["server1", "server2", "server3"]


def test_the_headers_of_a_follower_tell_the_truth(cluster: Cluster) -> None:
    follower = next(agent for agent in cluster.servers if agent is not cluster.leader())
    _status, headers, _body = follower.request("GET", "/v1/catalog/nodes?stale")
    assert headers["X-Consul-KnownLeader"].lower() == "true"
    assert headers["X-Consul-Effective-Consistency"] == "stale"
    assert int(headers["X-Consul-LastContact"]) < 5000


def test_leadership_is_handed_over_when_asked(cluster: Cluster) -> None:
    before = cluster.leader()
    done = before.cli("operator", "raft", "transfer-leader")
    assert done.returncode == 0, done.stderr
    assert cluster.leader(but=before) is not before


def test_a_user_event_reaches_every_agent(cluster: Cluster) -> None:
    done = cluster["client1"].cli("event", "-name=deploy", "v7")
    assert done.returncode == 0, done.stderr
    for agent in cluster.agents.values():
        eventually(lambda agent=agent: [row["Name"] for row in agent.get("/v1/event/list?name=deploy")], agent.node)


def test_a_snapshot_brings_back_what_was(cluster: Cluster, tmp_path: Path) -> None:
    one, other = cluster["server1"], cluster["client1"]
    one.request("PUT", "/v1/kv/kept", "before")
    archive = tmp_path / "backup.snap"
    saved = other.cli("snapshot", "save", str(archive))
    assert saved.returncode == 0, saved.stderr
    assert other.cli("snapshot", "inspect", str(archive)).returncode == 0
    one.request("PUT", "/v1/kv/kept", "after")
    one.request("PUT", "/v1/kv/later", "x")
    torn = tmp_path / "torn.snap"
    torn.write_bytes(archive.read_bytes()[:-100])
    refused = other.cli("snapshot", "restore", str(torn))
    assert refused.returncode != 0
    assert other.request("GET", "/v1/kv/kept?raw&consistent")[2] == b'"after"'
    restored = other.cli("snapshot", "restore", str(archive))
    assert restored.returncode == 0, restored.stderr
    for agent in cluster.agents.values():
        eventually(lambda agent=agent: agent.request("GET", "/v1/kv/kept?raw")[2] == b'"before"', agent.node)
        assert agent.request("GET", "/v1/kv/later")[0] == 404


def test_the_key_of_a_running_cluster_can_be_changed(cluster: Cluster) -> None:
    agent = cluster["client1"]
    new = agent.cli("keygen").stdout.strip()
    for flag in (f"-install={new}", f"-use={new}", f"-remove={cluster.key}"):
        done = agent.cli("keyring", flag)
        assert done.returncode == 0, (flag, done.stdout, done.stderr)
    listed = agent.cli("keyring", "-list").stdout
    assert new in listed
    assert cluster.key not in listed
    cluster.key = new
    assert cluster["server2"].request("PUT", "/v1/kv/after-rotation", "x")[0] == 200
    restarted = cluster["server3"]
    restarted.stop()
    restarted.start(wait=False)
    cluster.wait_ready()
    assert statuses(agent)["server3"] == 1


def test_the_leader_dies_and_writes_go_on_within_the_clients_patience(cluster: Cluster) -> None:
    leader = cluster.leader()
    survivors = [agent for agent in cluster.agents.values() if agent is not leader]
    for number in range(5):
        assert leader.request("PUT", f"/v1/kv/acknowledged/{number}", "x")[0] == 200
    cluster.kill(leader)
    for agent in survivors:
        status, _headers, body = agent.request("PUT", f"/v1/kv/after/{agent.node}", "x", timeout_s=20)
        assert status == 200, body
    for number in range(5):
        assert survivors[0].request("GET", f"/v1/kv/acknowledged/{number}?consistent")[0] == 200
    leader.start(wait=False)
    cluster.wait_ready()
    eventually(lambda: leader.request("GET", "/v1/kv/after/client1?stale")[0] == 200, "the old leader caught up")


def test_the_services_of_a_dead_host_leave_dns_everywhere(cluster: Cluster) -> None:
    victim = cluster["client1"]
    victim.put("/v1/agent/service/register", {"Name": "doomed", "Port": 80})
    others = cluster.servers
    for agent in others:
        eventually(lambda agent=agent: agent.dig("doomed.service.consul"), f"doomed at {agent.node}")
    cluster.kill(victim)
    began = time.monotonic()
    for agent in others:
        eventually(lambda agent=agent: not agent.dig("doomed.service.consul"), f"doomed gone at {agent.node}", 20)
    print(f"a dead host's services left DNS after {time.monotonic() - began:.1f} s")
    for agent in others:
        eventually(lambda agent=agent: statuses(agent)["client1"] == 4, f"failed as {agent.node} sees it")
    victim.start(wait=False)
    cluster.wait_ready()


def test_a_server_joins_later_is_promoted_and_leaves(cluster: Cluster) -> None:
    added = cluster.add("server4", hcl="")
    added.start(wait=False)
    cluster.wait_ready()
    leader = cluster.leader()
    eventually(lambda: peers(leader).get("server4") is True, f"server4 votes\n{added.log()}", 40)
    assert added.cli("leave").returncode == 0
    if added.process is not None:
        added.process.wait(20)
    eventually(lambda: "server4" not in peers(cluster.leader()), "server4 left Raft", 20)
    eventually(lambda: not cluster["server1"].get("/v1/catalog/node/server4"), "server4 left the catalog", 20)
    pruned = cluster["server1"].cli("force-leave", "-prune", "server4")
    assert pruned.returncode == 0, pruned.stderr
    for agent in cluster.running:
        eventually(lambda agent=agent: "server4" not in statuses(agent), f"forgotten by {agent.node}")
