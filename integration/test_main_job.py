"""The main job, as a user does it: HCL files → checks → catalog → DNS → mTLS through sidecars → intentions."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from harness.agent import AgentProcess
from harness.app import EchoApp, HttpApp
from harness.mesh import fetch, mesh_hcl, refused
from harness.ports import free_port
from harness.waiting import eventually


def test_a_service_of_an_hcl_file_is_checked_found_called_denied_and_allowed(tmp_path: Path) -> None:
    upstream = free_port()
    with (
        HttpApp("web") as web,
        HttpApp("api-1") as api,
        AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream)) as agent,
    ):
        eventually(lambda: agent.passing("api") == ["api"], "api passes its check")
        assert agent.dig("api.service.consul") == ["127.0.0.1"]
        assert agent.dig("api.service.consul", "SRV") == [f"1 1 {api.port} host1.node.dc1.consul."]
        assert agent.dig("api.service.consul", "A", "+tcp") == ["127.0.0.1"]
        eventually(lambda: fetch(upstream) == "api-1", f"a call through the mesh\n{agent.log()}")

        created = agent.cli("intention", "create", "-deny", "web", "api")
        assert (created.returncode, created.stdout) == (0, "Created: web => api (deny)\n")
        eventually(lambda: refused(upstream), "the call is denied", 2)
        checked = agent.cli("intention", "check", "web", "api")
        assert (checked.returncode, checked.stdout.strip().splitlines()[0]) == (1, "Denied")
        assert agent.cli("intention", "delete", "web", "api").returncode == 0
        eventually(lambda: fetch(upstream) == "api-1", "allowed again", 2)

        api.healthy = False
        eventually(lambda: agent.dig("api.service.consul") == [], "DNS drops what is critical")
        eventually(lambda: refused(upstream), "the mesh drops what is critical")
        api.healthy = True
        eventually(lambda: fetch(upstream) == "api-1", "and takes it back")
    assert agent.descendants() == []


def test_a_deny_closes_open_connections_within_a_second(tmp_path: Path) -> None:
    upstream = free_port()
    with EchoApp() as echo, AgentProcess(tmp_path, echo_hcl(echo.port, upstream)) as agent:
        connection = eventually(lambda: talk(upstream), f"an echo through the mesh\n{agent.log()}")
        agent.put("/v1/connect/intentions/exact?source=web&destination=api", {"Action": "deny"})
        denied_at = time.monotonic()
        connection.settimeout(5)
        try:
            assert connection.recv(10) == b""
        except ConnectionResetError:
            pass
        assert time.monotonic() - denied_at < 1.0
        connection.close()


def test_half_close_is_passed_on_both_ways(tmp_path: Path) -> None:
    upstream = free_port()
    with EchoApp() as echo, AgentProcess(tmp_path, echo_hcl(echo.port, upstream)) as agent:
        connection = eventually(lambda: talk(upstream), f"an echo through the mesh\n{agent.log()}")
        payload = b"x" * 1_000_000
        connection.settimeout(20)
        received = bytearray()
        connection.sendall(payload)
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            received += data
        assert bytes(received) == payload + b"bye"
        connection.close()


@pytest.mark.parametrize("how", ["http", "cli"])
def test_a_service_registered_by_api_or_cli_gets_its_sidecar_too(tmp_path: Path, how: str) -> None:
    upstream = free_port()
    with EchoApp() as echo, AgentProcess(tmp_path, echo_hcl(echo.port, upstream, api=False)) as agent:
        definition = {"Name": "api", "Port": echo.port, "Connect": {"SidecarService": {}}}
        if how == "http":
            agent.put("/v1/agent/service/register", definition)
        else:
            path = tmp_path / "api.json"
            path.write_text(json.dumps({"service": definition}))
            result = agent.cli("services", "register", str(path))
            assert result.returncode == 0, result.stderr
        talked = eventually(lambda: talk(upstream), f"an echo through the mesh\n{agent.log()}")
        talked.close()
        agent.put("/v1/agent/service/deregister/api")
        eventually(lambda: agent.get("/v1/catalog/connect/api") == [], "the sidecar goes with its service")


def test_reload_adds_and_removes_services_and_keeps_the_health_of_the_rest(tmp_path: Path) -> None:
    with HttpApp("web") as web, AgentProcess(tmp_path) as agent:
        agent.write("a.hcl", service_hcl("a", web.port))
        agent.write("b.hcl", service_hcl("b", web.port))
        assert agent.cli("reload").returncode == 0
        eventually(lambda: agent.passing("a") and agent.passing("b"), "both pass")
        before = agent.get("/v1/health/checks/a")[0]
        agent.write("b.hcl", "")
        agent.write("c.hcl", service_hcl("c", web.port))
        agent.put("/v1/agent/reload")
        eventually(lambda: "b" not in agent.get("/v1/catalog/services"), "b is gone")
        eventually(lambda: agent.passing("c"), "c passes")
        assert agent.get("/v1/health/checks/a")[0] == before, "a was not touched"
        agent.write("c.hcl", 'service { name = "c", prot = 1 }')
        failed = agent.cli("reload")
        assert failed.returncode == 1
        assert "c.hcl:1" in failed.stderr
        assert agent.passing("c"), "a reload that fails changes nothing"


def test_a_file_that_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, 'service {\n  name = "web"\n  prot = 80\n}\n')
    agent.start(wait=False)
    assert agent.process is not None
    assert agent.process.wait(20) == 1
    assert "main.hcl:3:3" in agent.log()
    assert "port" in agent.log()


def echo_hcl(port: int, upstream: int, *, api: bool = True) -> str:
    """The mesh pair in front of an echo server, which needs no check."""
    text = mesh_hcl(free_port(), port, upstream)
    lines = text.splitlines()
    if not api:
        start = next(number for number, line in enumerate(lines) if line.strip() == 'name = "api"') - 1
        lines = lines[:start]
    return "\n".join(line for line in lines if "check {" not in line)


def service_hcl(name: str, port: int) -> str:
    check = f'check {{ http = "http://127.0.0.1:{port}/health", interval = "200ms" }}'
    return f'service {{ name = "{name}", port = {port}\n {check} }}'


def talk(port: int) -> socket.socket:
    """An open connection over which one echo has come back; OSError until the mesh is up."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=3)
    connection.sendall(b"ping")
    if connection.recv(4) != b"ping":
        connection.close()
        raise ConnectionResetError("no echo")
    return connection
