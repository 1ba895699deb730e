"""Watches of configuration files and of `chowk watch`, and `chowk debug`, with a real agent that is also killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.agent import AgentProcess
from harness.raw_http import ask
from harness.waiting import eventually

WATCHES = """
watches = [
  {{ type = "key" key = "color" args = ["/bin/sh", "-c", "cat >> {out}; echo run >> {out}"] }},
  {{ type = "keyprefix" prefix = "hang" handler = "trap '' HUP; echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; wait" }},
  {{ type = "service" service = "web" passingonly = true handler_type = "http"
     http_handler_config {{ path = "http://127.0.0.1:{port}/hook" method = "PUT" header = {{ "x-from" = ["watch"] }} }} }},
]
"""


class Hook(ThreadingHTTPServer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[tuple[str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.append((f"{self.path} {self.headers['x-from']}", body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nothing of the test's output."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def numbers(file: Path) -> list[int]:
    return [int(text) for text in file.read_text().split()] if file.exists() else []


def test_handlers_run_at_each_change_and_end_with_an_agent_that_is_killed(tmp_path: Path, hook: Hook) -> None:
    out, pids = tmp_path / "out", tmp_path / "pids"
    hcl = WATCHES.format(out=out, pids=pids, port=hook.server_port)
    with AgentProcess(tmp_path, hcl, dev=False) as agent:
        eventually(lambda: out.exists() and out.read_text() == "null\nrun\n", "the first run")
        assert ask(agent, "PUT", "/v1/kv/color", b"red").status == 200
        eventually(lambda: out.read_text().count("run") == 2, "a run for the change")
        assert '"Value":"cmVk"' in out.read_text()
        eventually(lambda: ("/hook watch", []) in hook.heard, "the HTTP handler")
        agent.put("/v1/agent/service/register", {"Name": "web", "Port": 80})
        eventually(
            lambda: [row["Service"]["Port"] for row in hook.heard[-1][1]] == [80],
            "the HTTP handler told of the service",
        )
        before = eventually(lambda: len(numbers(pids)) == 2 and numbers(pids), "a handler that hangs")
        assert all(map(is_alive, before))
        guard = guards(agent)
        agent.stop(signal.SIGKILL)
        eventually(lambda: not any(map(is_alive, [*before, guard])), "the handler's processes ended, and their guard")
        agent.start()
        after = eventually(lambda: len(numbers(pids)) == 4 and numbers(pids)[2:], "the handler, run by the next agent")
        assert all(map(is_alive, after))
        assert agent.stop() == 0
        eventually(lambda: not any(map(is_alive, after)), "the handler's processes ended")


def test_a_guard_that_is_killed_is_replaced_and_knows_what_runs(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with AgentProcess(tmp_path, WATCHES.format(out=tmp_path / "out", pids=pids, port=1), dev=False) as agent:
        hanging = eventually(lambda: len(numbers(pids)) == 2 and numbers(pids), "a handler that hangs")
        guard = eventually(lambda: guards(agent), "the guard")
        os.kill(guard, signal.SIGKILL)
        eventually(lambda: guards(agent) not in (0, guard), "another guard")
        assert all(map(is_alive, hanging))
        eventually(lambda: len(ready(agent)) == 2, "the guard to be ready")
        agent.stop(signal.SIGKILL)
        eventually(lambda: not any(map(is_alive, hanging)), "the handler's processes ended")


def ready(agent: AgentProcess) -> list[str]:
    """One line of the log for each guard that was told what runs."""
    return [line for line in agent.log().splitlines() if "child started" in line and "watch-guard" in line]


def guards(agent: AgentProcess) -> int:
    try:
        return agent.child("watches.guarding")
    except AssertionError:
        return 0


def test_chowk_watch_goes_on_over_a_restart_and_does_not_run_for_what_is_the_same(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with AgentProcess(tmp_path, dev=False) as agent:
        assert ask(agent, "PUT", "/v1/kv/color", b"red").status == 200
        assert json.loads(agent.cli("watch", "-type=key", "-key=color").stdout)["Value"] == "cmVk"
        environment = {**os.environ, "CHOWK_HTTP_ADDR": f"{agent.address}:{agent.http_port}"}
        command = [sys.executable, "-m", "chowk", "watch", "-type=key", "-key=color", f"cat >> {out}"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                eventually(lambda: out.exists() and out.read_text().count("\n") == 1, "the first run")
                agent.stop(signal.SIGKILL)
                agent.start()
                assert ask(agent, "PUT", "/v1/kv/color", b"blue").status == 200
                eventually(lambda: "Ymx1ZQ==" in out.read_text(), "a run for the change", 30)
                assert out.read_text().count("\n") == 2, "what was the same after the outage was no news"
            finally:
                process.terminate()
            assert process.wait(20) == 0


def test_debug_gathers_what_consul_does_without_a_leader_too(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, dev=False) as agent:
        done = agent.cli(
            "debug",
            "-duration=10s",
            "-interval=5s",
            f"-output={tmp_path / 'b'}",
            "-capture=metrics,logs,pprof,host,agent,cluster",
        )
        assert done.returncode == 0, done.stderr
        with tarfile.open(tmp_path / "b.tar.gz") as tar:
            files = {name.removeprefix("b/"): tar.extractfile(name) for name in tar.getnames()}
            assert sorted(files) == [
                "agent.json",
                "chowk.log",
                "host.json",
                "index.json",
                "members.json",
                "metrics.json",
            ]
            index = files["index.json"]
            assert index is not None
            assert json.loads(index.read())["Errors"] == []
            metrics = files["metrics.json"]
            assert metrics is not None
            assert len(metrics.read().splitlines()) == 3
