"""Two of three servers die at once: what needs a leader says that there is none, what may be stale is answered, also if
nobody asked for it before; and all is as it was when they are back.
"""

from __future__ import annotations

import time
from pathlib import Path

from harness.agent import AgentProcess
from harness.cluster import Cluster
from harness.waiting import eventually

NO_LEADER = (500, b"No cluster leader")


def asked(agent: AgentProcess, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    status, _headers, answer = agent.request(method, path, body)
    return status, answer


def test_without_a_leader_catalog_dns_and_stale_reads_answer_and_the_rest_says_why_not(tmp_path: Path) -> None:
    with Cluster(tmp_path, 3, 1) as cluster:
        cluster["client1"].put("/v1/agent/service/register", {"Name": "web", "Port": 80})
        eventually(lambda: cluster["client1"].dig("web.service.consul"), "web is known", 10)
        cluster["client1"].put("/v1/kv/a", "1")
        leader = cluster.leader()
        dead = [leader, next(each for each in cluster.servers if each is not leader)]
        alive = next(each for each in cluster.servers if each not in dead)
        for each in dead:
            cluster.kill(each)
        for agent in (alive, cluster["client1"]):
            eventually(lambda agent=agent: asked(agent, "GET", "/v1/status/leader") == (200, b'""'), "nobody leads", 20)

        for agent in (alive, cluster["client1"]):
            began = time.monotonic()
            assert agent.dig("server1.node.consul") == [cluster["server1"].address]
            assert len(agent.dig("web.service.consul")) == 1
            assert agent.get("/v1/health/service/consul?cached")
            assert asked(agent, "GET", "/v1/kv/a?stale")[0] == 200
            assert time.monotonic() - began < 7, "none of these waits for a leader"
            assert asked(agent, "GET", "/v1/kv/a") == NO_LEADER
            assert asked(agent, "PUT", "/v1/kv/a", "2") == NO_LEADER

        for each in dead:
            each.start(wait=False)
        eventually(lambda: asked(cluster["client1"], "PUT", "/v1/kv/a", "3") == (200, b"true"), "writes go on", 40)
        cluster["client1"].put("/v1/agent/service/deregister/web")
        for agent in (alive, cluster["client1"]):
            eventually(lambda agent=agent: not agent.dig("web.service.consul"), "views follow again", 20)
