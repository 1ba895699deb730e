"""kill -9 of the agent, and a new one: what passed and never stopped is never called unhealthy in between."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from threading import Event, Thread

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.mesh import fetch, sidecar_ports
from harness.ports import free_port
from harness.waiting import eventually

WATCHED_S = 13.0
"""Longer than an interval: every check has run again by then."""


def slow_mesh(web_port: int, api_port: int, upstream_port: int) -> str:
    """A mesh whose checks run each 10 s."""
    low, high = sidecar_ports()
    return f"""
    ports {{ sidecar_min_port = {low}, sidecar_max_port = {high} }}
    services {{
      name = "web"
      port = {web_port}
      connect {{ sidecar_service {{ proxy {{ upstreams = [ {{
        destination_name = "api"
        local_bind_port = {upstream_port}
      }} ] }} }} }}
    }}
    services {{
      name = "api"
      port = {api_port}
      connect {{ sidecar_service {{ }} }}
      check {{ id = "api-up", http = "http://127.0.0.1:{api_port}/health", interval = "10s", timeout = "2s" }}
    }}
    """


class Calls:
    """Calls through the mesh, one after the other, until left; `failures` are those that did not get through."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.made = 0
        self.failures: list[str] = []
        self._stop = Event()
        self._thread = Thread(target=self._call)

    def _call(self) -> None:
        while not self._stop.is_set():
            try:
                body = fetch(self.port)
                if body != "api":
                    self.failures.append(body)
            except OSError as error:
                self.failures.append(repr(error))
            self.made += 1
            self._stop.wait(0.02)

    def __enter__(self) -> Calls:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def answer(agent: AgentProcess, name: str) -> str | None:
    """What a resolver makes of one question: the status and how many answers; None while nobody does, or SERVFAIL."""
    command = ["dig", "@127.0.0.1", "-p", str(agent.dns_port), "+tries=1", "+time=1", name, "A"]
    output = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout
    if "status: " not in output or "status: SERVFAIL" in output:
        return None
    status = output.partition("status: ")[2].partition(",")[0]
    return f"{status} {output.partition('ANSWER: ')[2].partition(',')[0]}"


def test_a_killed_agents_successor_never_calls_unhealthy_what_never_stopped(tmp_path: Path) -> None:
    upstream = free_port()
    with (
        HttpApp("web") as web,
        HttpApp("api") as api,
        AgentProcess(tmp_path, slow_mesh(web.port, api.port, upstream), dev=False) as agent,
    ):
        agent.put("/v1/agent/service/register", {
            "Name": "told", "Port": api.port,
            "Check": {"HTTP": f"http://127.0.0.1:{api.port}/health", "Interval": "10s"},
        })  # fmt: skip
        everything = ("api", "told", "web", "api-sidecar-proxy", "web-sidecar-proxy")
        eventually(lambda: all(agent.passing(name) for name in everything), f"all passes\n{agent.log()}", 30)
        eventually(lambda: fetch(upstream) == "api", f"the mesh is up\n{agent.log()}")
        with Calls(upstream) as calls:
            agent.stop(signal.SIGKILL)
            agent.start(wait=False)
            seen: set[str] = set()
            unhealthy: set[str] = set()
            deadline = time.monotonic() + WATCHED_S
            while time.monotonic() < deadline:
                seen |= {found for name in ("api", "told") if (found := answer(agent, f"{name}.service.consul"))}
                unhealthy |= critical(agent)
        assert seen == {"NOERROR 1"}, f"DNS was never empty once it answered\n{agent.log()}"
        assert not unhealthy
        assert calls.made > 100
        assert calls.failures == []
        api.healthy = False
        started = time.monotonic()
        agent.stop(signal.SIGKILL)
        agent.start()
        eventually(lambda: agent.passing("api") == [], "what did stop meanwhile is found out", 8)
        assert time.monotonic() - started < 9.0, "long before its interval is over"


def critical(agent: AgentProcess) -> set[str]:
    """The checks that the agent or the catalog call anything but passing; nothing while the agent does not answer."""
    try:
        own = agent.get("/v1/agent/checks")
        kept = agent.get("/v1/health/node/host1")
    except (OSError, AssertionError):
        return set()
    found = {name for name, check in own.items() if check["Status"] != "passing"}
    return found | {check["CheckID"] for check in kept if check["Status"] != "passing"}
