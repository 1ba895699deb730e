"""A hostile or clumsy user against real processes: damaged data folders, wrong bodies, garbage and floods on every port."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.mesh import fetch, mesh_hcl
from harness.ports import free_port
from harness.waiting import eventually

REGISTER = "/v1/agent/service/register"


def raw(port: int, data: bytes, timeout_s: float = 5.0) -> bytes:
    """What a port first answers to these bytes; empty when it closes without a word."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.sendall(data)
            return connection.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            return b""


def put_raw(agent: AgentProcess, path: str, body: bytes) -> bytes:
    """Send a body as it is."""
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return raw(agent.http_port, head.encode() + body)


def test_wrong_bodies_are_refused_and_register_nothing(tmp_path: Path) -> None:
    bodies = [
        b"", b"null", b"[]", b'{"Name":"a","Port":NaN}', b'{"Name":"a","Port":1e999}', b'{"Name":"a","Port":-1}',
        b'{"Name":"a","Name":"b"}', b'{"Name":"\xff"}', b'{"Name":"\\ud800"}', b'{"Name":"a\\u0000"}', b'{"a":' * 50_000,
        b'{"Name":"a","Port":1' + b"0" * 5000 + b"}", b'{"Name":"a","ID":"' + b"x" * 5000 + b'"}',
    ]  # fmt: skip
    with AgentProcess(tmp_path) as agent:
        for body in bodies:
            assert put_raw(agent, REGISTER, body).startswith(b"HTTP/1.1 400"), body[:60]
        assert agent.get("/v1/agent/services") == {}
        assert "Traceback" not in agent.log_path.read_text()


def test_garbage_and_floods_on_every_port_leave_the_others_working(tmp_path: Path) -> None:
    upstream = free_port()
    with HttpApp("web") as web, HttpApp("api") as api, ExitStack() as stack:
        agent = stack.enter_context(AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream)))
        eventually(lambda: fetch(upstream) == "api", "the mesh carries a call")
        sidecar = agent.get("/v1/agent/service/api-sidecar-proxy")["Port"]
        assert raw(sidecar, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b"", "plain HTTP gets no word over the mTLS port"
        assert b" 400 " in raw(agent.http_port, os.urandom(2000) + b"\r\n\r\n")
        header = b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n"
        assert b" 200 " not in raw(agent.http_port, header)[:20]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for size in range(1000):
                sender.sendto(os.urandom(size % 300), ("127.0.0.1", agent.dns_port))
        for port in (sidecar, upstream, agent.dns_port, agent.http_port):
            flood(port)
            eventually(lambda: agent.dig("api.service.consul") == ["127.0.0.1"], f"DNS after a flood of {port}")
            eventually(lambda: agent.get("/v1/status/leader"), f"HTTP after a flood of {port}")
            eventually(lambda: fetch(upstream) == "api", f"the mesh after a flood of {port}")
        assert "Traceback" not in agent.log_path.read_text()


def flood(port: int, count: int = 1500) -> None:
    """Open many connections that say nothing; a listener that no longer takes them is content."""
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.socket())
            connection.settimeout(0.2)
            try:
                connection.connect(("127.0.0.1", port))
            except OSError:
                return


def test_an_agent_stopped_while_its_launcher_starts_leaves_no_process(tmp_path: Path) -> None:
    with HttpApp("web") as web, HttpApp("api") as api:
        agent = AgentProcess(tmp_path, mesh_hcl(web.port, api.port, free_port()), dev=False)
        for _ in range(3):
            agent.start(wait=False)
            agent.log_path.write_text("")
            eventually(lambda: "proxy launcher started" in agent.log_path.read_text(), "the launcher is started")
            assert agent.stop() == 0
            assert agent.descendants() == []


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(b"\x00garbage\xff" * 20)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("pattern", "damage", "words"),
    [
        ("node-id", garble, "holds no UUID"),
        ("node-id", empty, "holds no UUID"),
        ("node-id", make_folder, "node-id: Is a directory"),
        ("node-id", Path.unlink, "write {node_id} to the file node-id"),
        ("server/raft/hard-state", empty, "hard-state is damaged"),
        ("server/raft/hard-state", garble, "hard-state is damaged"),
        ("server/raft/hard-state", Path.unlink, "hard-state is damaged"),
        ("server/raft/log/*.log", garble, ".log is damaged at byte 0"),
        ("server/raft/log/*.log", Path.unlink, "its log and snapshots are gone"),
        ("server/raft/log/*.log", empty, "its log and snapshots are gone"),
    ],
)
def test_a_data_dir_that_lost_what_cannot_be_made_again_is_refused_with_what_to_do(
    kept_data: Path, tmp_path: Path, pattern: str, damage: Callable[[Path], None], words: str
) -> None:
    agent = AgentProcess(tmp_path / "ünï cødé", dev=False)
    shutil.copytree(kept_data, agent.data_dir)
    node_id = (agent.data_dir / "node-id").read_text().strip()
    (victim,) = agent.data_dir.glob(pattern)
    damage(victim)
    agent.start(wait=False)
    assert agent.process is not None
    try:
        assert agent.process.wait(20) == 1
    finally:
        agent.process.kill()
    assert words.format(node_id=node_id) in agent.log()
    assert "Traceback" not in agent.log()
    assert agent.descendants() == []


@pytest.mark.parametrize("pattern", ["services/*.json", "sidecar-ports.json"])
@pytest.mark.parametrize("damage", [empty, garble, make_folder])
def test_one_bad_file_of_a_registration_is_set_aside_and_named(
    kept_data: Path, tmp_path: Path, pattern: str, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "a"
    agent = AgentProcess(folder, dev=False)
    shutil.copytree(kept_data, agent.data_dir)
    victim = next(agent.data_dir.glob(pattern))
    damage(victim)
    with agent:
        assert "cannot be read; it is set aside" in agent.log_path.read_text()
        assert str(victim) in agent.log_path.read_text()
        assert "Traceback" not in agent.log_path.read_text()


@pytest.fixture(scope="module")
def kept_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of an agent that kept a service with a sidecar, and was stopped cleanly."""
    with AgentProcess(tmp_path_factory.mktemp("kept"), dev=False) as agent:
        agent.put(REGISTER, {"Name": "kept", "Port": 5, "Connect": {"SidecarService": {}}})
        eventually(lambda: (agent.data_dir / "sidecar-ports.json").exists(), "the sidecar's port is kept")
        agent.stop()
        shutil.rmtree(agent.data_dir / "run")
        return agent.data_dir
