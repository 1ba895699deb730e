"""Who runs a sidecar: the agent, or the user who wants to, and the change from one to the other under traffic."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

from harness.agent import CHOWK, AgentProcess
from harness.app import HttpApp
from harness.mesh import fetch, mesh_hcl, refused
from harness.ports import free_port
from harness.waiting import eventually


def by_hand(agent: AgentProcess, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A proxy that a user starts."""
    environment = {**os.environ, "CHOWK_HTTP_ADDR": f"127.0.0.1:{agent.http_port}"}
    with (folder / "proxy.log").open("ab") as log:
        return subprocess.Popen([*CHOWK, "connect", "proxy", *arguments], stdout=log, stderr=log, env=environment)


def test_a_proxy_started_by_hand_takes_over_and_gives_back(tmp_path: Path) -> None:
    upstream = free_port()
    with HttpApp("web") as web, HttpApp("api") as api:
        agent = AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream))
        with agent:
            eventually(lambda: fetch(upstream) == "api", f"the mesh is up\n{agent.log()}")
            process = by_hand(agent, tmp_path, "-sidecar-for", "web")
            try:
                eventually(lambda: f"pid={process.pid}" in agent.log() and "manual=True" in agent.log(), "it attached")
                eventually(lambda: fetch(upstream) == "api", "traffic flows through it", 5)
            finally:
                process.send_signal(signal.SIGINT)
                assert process.wait(15) == 0
            eventually(lambda: fetch(upstream) == "api", "the agent runs its own again", 10)


def test_launch_false_leaves_the_sidecar_to_the_user(tmp_path: Path) -> None:
    upstream = free_port()
    with HttpApp("web") as web, HttpApp("api") as api:
        hcl = mesh_hcl(web.port, api.port, upstream, "connect { launch = false }")
        with AgentProcess(tmp_path, hcl) as agent:
            eventually(lambda: agent.passing("api") == ["api"], "the service is there")
            assert "sidecar launched" not in agent.log()
            assert refused(upstream)
            processes = [by_hand(agent, tmp_path, "-sidecar-for", name) for name in ("web", "api")]
            try:
                eventually(lambda: fetch(upstream) == "api", f"the mesh is up\n{agent.log()}")
            finally:
                for process in processes:
                    process.send_signal(signal.SIGTERM)
                    process.wait(15)
            eventually(lambda: refused(upstream), "nobody starts them again", 5)
            assert "sidecar launched" not in agent.log()


def test_one_sidecar_alone_can_be_left_to_the_user(tmp_path: Path) -> None:
    upstream = free_port()
    with HttpApp("web") as web, HttpApp("api") as api:
        hcl = mesh_hcl(web.port, api.port, upstream).replace(
            "sidecar_service { }", "sidecar_service { launch = false }"
        )
        with AgentProcess(tmp_path, hcl) as agent:
            eventually(lambda: "proxy=web-sidecar-proxy" in agent.log(), "web's sidecar is launched")
            assert "proxy=api-sidecar-proxy" not in agent.log()
            agent.write("main.hcl", mesh_hcl(web.port, api.port, upstream))
            agent.put("/v1/agent/reload")
            eventually(lambda: fetch(upstream) == "api", f"a reload launches it\n{agent.log()}")


def test_two_agents_of_one_host_share_a_range_of_ports(tmp_path: Path) -> None:
    upstreams = [free_port(), free_port()]
    with HttpApp("web") as web, HttpApp("api") as api:
        hcl = mesh_hcl(web.port, api.port, upstreams[0])
        other = hcl.replace(str(upstreams[0]), str(upstreams[1]))
        with AgentProcess(tmp_path / "one", hcl) as one:
            eventually(lambda: fetch(upstreams[0]) == "api", f"the first mesh is up\n{one.log()}")
            with AgentProcess(tmp_path / "two", other) as two:
                eventually(lambda: fetch(upstreams[1]) == "api", f"the second mesh is up\n{two.log()}")
                ports = {agent.get("/v1/catalog/connect/api")[0]["ServicePort"] for agent in (one, two)}
                assert len(ports) == 2
            assert fetch(upstreams[0]) == "api"


def test_a_sidecar_whose_port_somebody_else_has_is_critical_and_says_who(tmp_path: Path) -> None:
    upstream = free_port()
    with HttpApp("web") as web, HttpApp("api") as api, socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        hcl = mesh_hcl(web.port, api.port, upstream).replace(
            "sidecar_service { }", f"sidecar_service {{ port = {port} }}"
        )
        with AgentProcess(tmp_path, hcl) as agent:

            def listening() -> dict[str, str]:
                checks = agent.get("/v1/agent/checks").values()
                return next(
                    check
                    for check in checks
                    if check["Name"] == "Connect Sidecar Listening" and "api" in check["ServiceID"]
                )

            eventually(lambda: f"port {port} on 127.0.0.1 is taken by" in agent.log(), "the log names the holder")
            assert listening()["Status"] == "critical"
            assert refused(upstream)
            holder.close()
            eventually(lambda: fetch(upstream) == "api", f"it takes the port once that is free\n{agent.log()}", 20)
            assert listening()["Status"] == "passing"
