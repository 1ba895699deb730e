"""kill -9 of any process, then what users rely on: nothing acknowledged is lost, traffic flows, nothing is left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.mesh import fetch, mesh_hcl
from harness.ports import free_port
from harness.waiting import eventually


def proxies(agent: AgentProcess) -> dict[str, int]:
    """Pids of the sidecars, as the kernel names them."""
    found = {}
    for pid in agent.descendants():
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if name.startswith("chowk-proxy"):
            found[str(pid)] = pid
    return found


def test_a_killed_server_comes_back_and_dns_and_proxies_answer_meanwhile(tmp_path: Path) -> None:
    upstream = free_port()
    with (
        HttpApp("web") as web,
        HttpApp("api") as api,
        AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream), dev=False) as agent,
    ):
        eventually(lambda: fetch(upstream) == "api", f"the mesh is up\n{agent.log()}")
        assert agent.dig("api.service.consul") == ["127.0.0.1"]
        agent.put("/v1/config", {"Kind": "service-defaults", "Name": "kept", "Protocol": "http"})
        server = agent.child("chowk.server.main")
        os.kill(server, signal.SIGSTOP)
        assert agent.dig("api.service.consul") == ["127.0.0.1"]
        assert fetch(upstream) == "api"
        os.kill(server, signal.SIGKILL)
        assert agent.dig("api.service.consul") == ["127.0.0.1"]
        assert fetch(upstream) == "api"
        eventually(lambda: agent.get("/v1/config/service-defaults/kept")["Protocol"] == "http", "the write survived")
        assert agent.child("chowk.server.main") != server


def test_a_killed_agent_disturbs_no_traffic_and_its_successor_adopts_the_proxies(tmp_path: Path) -> None:
    upstream = free_port()
    with (
        HttpApp("web") as web,
        HttpApp("api") as api,
        AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream), dev=False) as agent,
    ):
        eventually(lambda: fetch(upstream) == "api", f"the mesh is up\n{agent.log()}")
        agent.put("/v1/agent/service/register", {"Name": "remembered", "Port": 1234})
        eventually(lambda: agent.get("/v1/catalog/service/remembered"), "it is in the catalog")
        before = proxies(agent)
        assert len(before) == 2
        agent.stop(signal.SIGKILL)
        for _ in range(20):
            assert fetch(upstream) == "api"
        agent.start()
        assert agent.get("/v1/catalog/service/remembered")[0]["ServicePort"] == 1234
        eventually(lambda: agent.passing("api") == ["api"], "checks run again")
        eventually(lambda: "proxy attached" in agent.log(), "the proxies attach")
        agent.put("/v1/connect/intentions/exact?source=web&destination=api", {"Action": "deny"})
        eventually(lambda: not works(upstream), "adopted proxies follow new intentions", 3)
        assert proxies(agent) == before, "no proxy was restarted"
    assert agent.descendants() == []


def test_a_killed_proxy_is_back_and_a_killed_launcher_harms_nobody(tmp_path: Path) -> None:
    upstream = free_port()
    with (
        HttpApp("web") as web,
        HttpApp("api") as api,
        AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream)) as agent,
    ):
        eventually(lambda: fetch(upstream) == "api", f"the mesh is up\n{agent.log()}")
        before = proxies(agent)
        victim = min(before.values())
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(proxies(agent)) == 2 and str(victim) not in proxies(agent), "the proxy is back", 5)
        eventually(lambda: fetch(upstream) == "api", "and carries traffic")
        survivors = proxies(agent)
        os.kill(agent.child("chowk.connect.proxy.launcher"), signal.SIGKILL)
        assert fetch(upstream) == "api"
        assert proxies(agent) == survivors
        os.kill(min(survivors.values()), signal.SIGKILL)
        eventually(lambda: len(proxies(agent)) == 2, "a new launcher forks the next proxy")
        eventually(lambda: fetch(upstream) == "api", "and it carries traffic")
    eventually(lambda: agent.descendants() == [], "nothing is left", 5)


def test_a_killed_dev_agent_leaves_no_process(tmp_path: Path) -> None:
    upstream = free_port()
    with (
        HttpApp("web") as web,
        HttpApp("api") as api,
        AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream)) as agent,
    ):
        eventually(lambda: fetch(upstream) == "api", f"the mesh is up\n{agent.log()}")
        agent.stop(signal.SIGKILL)
        eventually(lambda: agent.descendants() == [], "server, launcher and proxies end with a -dev agent", 10)


def works(port: int) -> bool:
    try:
        return bool(fetch(port, timeout_s=3))
    except OSError:
        return False
