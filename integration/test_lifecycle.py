"""Starting and stopping: signals, a second agent, taken ports, a data folder that cannot be used, damaged logs."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from harness.agent import AgentProcess
from harness.waiting import eventually


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("dev", [True, False])
def test_a_signal_stops_everything_cleanly(tmp_path: Path, number: signal.Signals, dev: bool) -> None:
    with AgentProcess(tmp_path, dev=dev) as agent:
        assert agent.stop(number) == 0
        assert agent.descendants() == []
        assert "Traceback" not in agent.log_path.read_text()


def test_leave_stops_the_agent(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as agent:
        assert agent.cli("leave").returncode == 0
        assert agent.process is not None
        assert agent.process.wait(20) == 0


def test_a_second_agent_on_the_same_ports_fails_at_once_and_says_who_has_them(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "one") as first:
        second = AgentProcess(tmp_path / "two")
        second.http_port, second.dns_port = first.http_port, first.dns_port
        started = time.monotonic()
        second.start(wait=False)
        assert second.process is not None
        assert second.process.wait(20) == 1
        assert time.monotonic() - started < 5
        assert f"port {first.http_port} on 127.0.0.1 is taken" in second.log()
        assert first.process is not None
        assert f"pid {first.process.pid}" in second.log()
        assert second.descendants() == []
        assert first.get("/v1/catalog/nodes")


def test_a_second_agent_on_the_same_data_dir_fails_at_once(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "one", dev=False) as first:
        second = AgentProcess(tmp_path / "two", dev=False)
        second.data_dir = first.data_dir
        second.start(wait=False)
        assert second.process is not None
        assert second.process.wait(20) == 1
        assert first.process is not None
        assert f"another chowk agent (pid {first.process.pid})" in second.log()
        assert first.get("/v1/catalog/nodes")


def test_a_taken_udp_port_is_named(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", agent.dns_port))
        agent.start(wait=False)
        assert agent.process is not None
        assert agent.process.wait(20) == 1
    assert f"udp port {agent.dns_port} on 127.0.0.1 is taken" in agent.log()


def test_a_data_dir_that_is_a_file_is_named(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, dev=False)
    agent.data_dir.write_text("not a folder")
    agent.start(wait=False)
    assert agent.process is not None
    assert agent.process.wait(20) == 1
    assert str(agent.data_dir) in agent.log()
    assert "Traceback" not in agent.log()


def log_segment(agent: AgentProcess) -> Path:
    """The newest segment of the server's log."""
    segments = [path for path in (agent.data_dir / "server").rglob("*") if path.is_file() and path.stat().st_size > 500]
    return max((path for path in segments if "log" in str(path)), key=lambda path: path.stat().st_mtime)


def write_entries(agent: AgentProcess, count: int) -> None:
    for number in range(count):
        agent.put("/v1/config", {"Kind": "service-defaults", "Name": f"s{number}", "Protocol": "http"})


def test_a_torn_log_tail_is_recovered(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, dev=False) as agent:
        write_entries(agent, 10)
        agent.stop(signal.SIGKILL)
        eventually(lambda: agent.descendants() == [], "the server ends with its agent", 10)
        with log_segment(agent).open("ab") as file:
            file.write(os.urandom(37))
        agent.start()
        assert len(agent.get("/v1/config/service-defaults")) == 10


def test_a_log_damaged_in_the_middle_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, dev=False) as agent:
        write_entries(agent, 10)
        agent.stop(signal.SIGKILL)
        eventually(lambda: agent.descendants() == [], "the server ends with its agent", 10)
        segment = log_segment(agent)
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 0xFF
        segment.write_bytes(data)
        agent.start(wait=False)
        assert agent.process is not None
        assert agent.process.wait(20) == 1
        assert segment.name in agent.log()
        assert agent.descendants() == []
        assert segment.read_bytes() == bytes(data), "the evidence is left as it was"


@pytest.mark.parametrize("given", [False, True], ids=["none", "given"])
def test_dev_shows_the_port_of_its_server_as_it_is(tmp_path: Path, given: bool) -> None:
    agent = AgentProcess(tmp_path)
    port = agent.rpc_port if given else 0
    agent.flags = (f"-server-port={port}",) if given else ()
    with agent:
        eventually(lambda: agent.get("/v1/catalog/service/consul"), "the server's service")
        address = f"127.0.0.1:{port}"
        assert agent.get("/v1/status/leader") == address
        assert agent.get("/v1/status/peers") == [address]
        assert agent.get("/v1/catalog/service/consul")[0]["ServicePort"] == port
        assert agent.get("/v1/operator/raft/configuration")["Servers"][0]["Address"] == address
        (member,) = agent.get("/v1/agent/members")
        assert member["Port"] > 0
        assert member["Tags"].get("port", "0") == str(port)
        with socket.socket() as probe:
            assert not given or probe.connect_ex(("127.0.0.1", port)) == 0
