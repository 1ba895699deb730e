"""A rolling upgrade of three real servers from the release before, while a client writes; then one is put back."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from harness.agent import AgentProcess
from harness.cluster import Cluster
from harness.release import OLD_VERSION, older_release
from harness.waiting import eventually

WRITES_MAX = 20_000


class Writer(threading.Thread):
    """Writes one key after the other, through whatever agent takes it, until it is told to stop."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.acknowledged: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        for number in range(WRITES_MAX):
            agent = self.cluster.servers[number % 3]
            try:
                status, _headers, _body = agent.request("PUT", f"/v1/kv/written/{number}", "x", timeout_s=20)
            except OSError:
                status = 0
            if status == 200:
                self.acknowledged.append(f"written/{number}")
            if self.over.wait(0.01):
                return


def create_session(agent: AgentProcess) -> tuple[int, str]:
    status, _headers, body = agent.request("PUT", "/v1/session/create", {"Name": "new"})
    return status, body.decode()


def restart(cluster: Cluster, agent: AgentProcess, release: Path | None) -> None:
    agent.stop()
    agent.release = release
    agent.start(wait=False)
    cluster.wait_ready()
    eventually(lambda: agent.get("/v1/operator/autopilot/health")["Healthy"], f"{agent.node} healthy", 30)


def state(agent: AgentProcess) -> str:
    """What this server has, as its own store says."""
    keys = sorted((row["Key"], row["ModifyIndex"]) for row in agent.get("/v1/kv/?recurse&stale"))
    sessions = sorted(row["ID"] for row in agent.get("/v1/session/list?stale"))
    nodes = sorted((row["Node"], row["ModifyIndex"]) for row in agent.get("/v1/catalog/nodes?stale"))
    return json.dumps([keys, sessions, nodes])


def test_a_rolling_upgrade_loses_nothing_and_refuses_only_what_is_new(tmp_path: Path) -> None:
    old = older_release(tmp_path / "old")
    cluster = Cluster(tmp_path)
    for agent in cluster.servers:
        agent.release = old
    with cluster:
        assert cluster.servers[0].get("/v1/agent/self")["Config"]["ChowkVersion"] == OLD_VERSION
        writer = Writer(cluster)
        writer.start()
        last = cluster.leader()
        first, second = (agent for agent in cluster.servers if agent is not last)
        restart(cluster, first, None)
        assert create_session(first)[0] != 200
        restart(cluster, second, None)
        moved = first.cli("operator", "raft", "transfer-leader")
        assert moved.returncode == 0, moved.stderr
        leader = cluster.leader(but=last)
        assert leader.release is None
        eventually(lambda: f"{last.node} runs chowk {OLD_VERSION}" in create_session(leader)[1], "refused by name", 20)
        assert create_session(leader)[0] == 503
        restart(cluster, last, None)
        eventually(lambda: create_session(last)[0] == 200, "sessions after the upgrade", 20)
        writer.over.set()
        writer.join(30)
        assert len(writer.acknowledged) > 50
        have = {row["Key"] for row in first.get("/v1/kv/written?recurse&consistent")}
        assert have.issuperset(writer.acknowledged)
        eventually(lambda: len({state(agent) for agent in cluster.servers}) == 1, "the same on all servers", 20)
        put_back_by_mistake(cluster, old)


def put_back_by_mistake(cluster: Cluster, old: Path) -> None:
    """The older release must stop at what it does not know, and say so; the same server goes on with the newer one."""
    victim = next(agent for agent in cluster.servers if agent is not cluster.leader())
    victim.stop()
    victim.release = old
    victim.start(wait=False)
    said = "was written by a newer release of chowk than this one"
    eventually(lambda: said in victim.log(), f"the reason\n{victim.log()}", 20)
    leader = cluster.leader()
    assert leader.request("PUT", "/v1/kv/meanwhile", "x")[0] == 200
    cluster.kill(victim)
    victim.release = None
    victim.start(wait=False)
    cluster.wait_ready()
    eventually(lambda: len({state(agent) for agent in cluster.servers}) == 1, "the same on all servers again", 20)
