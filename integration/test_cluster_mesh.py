"""A mesh whose services are on two hosts of a cluster: traffic, intentions and the CA, also when the leader dies."""

from __future__ import annotations

import time
from pathlib import Path

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.cluster import Cluster
from harness.mesh import fetch, refused
from harness.ports import free_port
from harness.waiting import eventually

ENFORCED_S = 2.0


def root(agent: AgentProcess) -> str:
    return str(agent.get("/v1/agent/connect/ca/roots")["ActiveRootID"])


def intend(agent: AgentProcess, action: str, upstream: int) -> None:
    """Write the intention through `agent`; it holds at once on the other hosts."""
    done = agent.cli("intention", "create", "-replace", f"-{action}", "web", "api")
    assert done.returncode == 0, done.stderr
    if action == "deny":
        eventually(lambda: refused(upstream), "web is refused", ENFORCED_S)
    else:
        eventually(lambda: fetch(upstream) == "api", "web is let in", ENFORCED_S)


def test_a_mesh_across_hosts_outlives_the_leader(tmp_path: Path) -> None:
    upstream = free_port()
    hcl = 'default_intention_policy = "deny"'
    with HttpApp("web") as web, HttpApp("api") as api, Cluster(tmp_path, servers=3, clients=2, hcl=hcl) as cluster:
        here, there = cluster["client1"], cluster["client2"]
        check = {"HTTP": f"http://127.0.0.1:{api.port}/health", "Interval": "200ms"}
        sidecar = {"SidecarService": {}}
        there.put("/v1/agent/service/register", {"Name": "api", "Port": api.port, "Connect": sidecar, "Check": check})
        proxy = {"Upstreams": [{"DestinationName": "api", "LocalBindPort": upstream}]}
        sidecar = {"SidecarService": {"Proxy": proxy}}
        here.put("/v1/agent/service/register", {"Name": "web", "Port": web.port, "Connect": sidecar})
        cluster["server2"].cli("intention", "create", "-allow", "web", "api")
        eventually(lambda: fetch(upstream) == "api", f"the mesh is up\n{here.log()}\n{there.log()}", 20)
        trusted = root(here)
        intend(cluster["server1"], "deny", upstream)
        intend(cluster["server3"], "allow", upstream)

        leader = cluster.leader()
        cluster.kill(leader)
        ends = time.monotonic() + 3.0
        while time.monotonic() < ends:
            assert fetch(upstream) == "api"
        new = cluster.leader(but=leader)
        intend(new, "deny", upstream)
        intend(here, "allow", upstream)
        assert {root(agent) for agent in cluster.running} == {trusted}
        assert here.get("/v1/agent/connect/ca/leaf/web")["CertPEM"]
