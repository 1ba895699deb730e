"""`make demo` on its real ports: it comes up, shows what it says, and leaves nothing behind, however it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from chowk.core.runtime.sockets import PortTaken, bind_tcp
from harness.waiting import eventually
from support.documents import ROOT

PORTS = (8500, 8600, 8080, 8081, 8082, 8083, 9001, 9002)
SCENE = ROOT / "configs" / "demo" / "run.py"


def marked(mark: str) -> list[int]:
    """Pids of the living processes that carry our mark in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture
def free_ports() -> None:
    """The demo's ports are fixed, being what a newcomer types; another user of them fails the test, saying who."""
    for port in PORTS:
        bind_tcp("127.0.0.1", port, "the demo").close()


def start(mark: str, **streams: object) -> subprocess.Popen[bytes]:
    name, _, value = mark.partition("=")
    return subprocess.Popen([sys.executable, str(SCENE)], env={**os.environ, name: value}, **streams)  # type: ignore[call-overload]


@pytest.mark.usefixtures("free_ports")
def test_the_demo_comes_up_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    mark = f"CHOWK_TEST_DEMO={tmp_path}"
    output = tmp_path / "demo.txt"
    with output.open("wb") as stream:
        process = start(mark, stdout=stream, stderr=stream)
    try:
        eventually(lambda: "Ctrl-C ends it all" in output.read_text(), "the demo is up", 40)
        with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=5) as reply:
            assert b'"approved": true' in reply.read()
        text = output.read_text()
        assert "dig @127.0.0.1 -p 8600 fraud-detection.service.consul SRV" in text
        victim = int(next(line for line in text.splitlines() if line.strip().startswith("kill ")).split()[1])
        os.kill(victim, signal.SIGTERM)
        eventually(lambda: "critical" in output.read_text(), "the live view shows the killed instance", 15)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert marked(mark) == []
    finally:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("free_ports")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_demo_whose_reader_has_gone_still_stops_all_it_started(tmp_path: Path, number: signal.Signals) -> None:
    mark = f"CHOWK_TEST_DEMO={tmp_path}"
    process = start(mark, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"starting")
        eventually(lambda: len(marked(mark)) >= 8, "its processes run", 30)
        process.stdout.close()
        process.send_signal(number)
        process.wait(30)
        assert marked(mark) == []
    finally:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)


def test_a_taken_port_is_named_with_its_holder() -> None:
    try:
        holder = bind_tcp("127.0.0.1", 9001, "the test")
    except PortTaken:
        pytest.fail("somebody else holds port 9001")
    with holder:
        result = subprocess.run([sys.executable, str(SCENE)], capture_output=True, text=True, timeout=30)
    assert result.returncode == 1
    assert "the upstream fraud-detection: tcp port 9001 on 127.0.0.1 is taken by" in result.stderr
    assert f"(pid {os.getpid()})" in result.stderr
