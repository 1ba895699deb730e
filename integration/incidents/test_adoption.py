"""Adoption: edge, then what is critical, then all. Who switches a mesh on for everybody at once learns of the callers that
nobody remembered when they fail.

It starts from the configuration that hurts, everything denied that nobody allowed, over services that call each other since
years, one of which has no sidecar at all. Watched, nothing fails, and what would have been denied is counted and named; the
intentions are written from what was seen; then service after service is enforced, and only a stranger notices.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.mesh import fetch, refused, sidecar_ports
from harness.ports import free_port
from harness.waiting import eventually

EDGE, CRITICAL, ALL = ("shop",), ("orders",), ("db",)


class Town:
    """`customers` → shop → orders → db; report → db; a stranger with a way to each. `plain` has no sidecar."""

    def __init__(self, folder: Path, apps: dict[str, HttpApp]) -> None:
        self.ways = {
            way: free_port()
            for way in (
                ("customers", "shop"), ("shop", "orders"), ("orders", "db"), ("report", "db"),
                ("stranger", "shop"), ("stranger", "orders"), ("stranger", "db"),
            )
        }  # fmt: skip
        low, high = sidecar_ports()
        self.apps = apps
        sources = dict.fromkeys(source for source, _ in self.ways)
        names = [*sources, *(name for name in apps if name not in sources)]
        services = "".join(self._service(name) for name in names)
        ports = f"ports {{ sidecar_min_port = {low}, sidecar_max_port = {high} }}"
        self.agent = AgentProcess(folder, f'default_intention_policy = "deny"\n{ports}\n{services}')

    def _service(self, name: str) -> str:
        port = self.apps[name].port if name in self.apps else free_port()
        if name == "plain":
            return f'services {{ name = "plain", port = {port} }}\n'
        upstreams = ", ".join(
            f'{{ destination_name = "{to}", local_bind_port = {bind} }}'
            for (source, to), bind in self.ways.items()
            if source == name
        )
        proxy = f"proxy {{ upstreams = [ {upstreams} ] }}" if upstreams else ""
        return f'services {{ name = "{name}", port = {port}, connect {{ sidecar_service {{ {proxy} }} }} }}\n'

    def mode(self, services: tuple[str, ...], mode: str) -> None:
        for name in services:
            path = self.agent.folder / f"{name}.hcl"
            path.write_text(f'Kind = "service-defaults"\nName = "{name}"\nIntentionMode = "{mode}"\n')
            done = self.agent.cli("config", "write", str(path))
            assert done.returncode == 0, done.stderr

    def flows(self, source: str, to: str) -> bool:
        return fetch(self.ways[source, to]) == to

    def refused(self, source: str, to: str) -> bool:
        return refused(self.ways[source, to])

    @property
    def known(self) -> list[tuple[str, str]]:
        return [way for way in self.ways if way[0] != "stranger"]

    def inbound(self) -> list[dict[str, Any]]:
        """What came to each service, by caller."""
        connections = self.agent.get("/v1/agent/traffic")["Connections"]
        return [each for each in connections if each["Direction"] == "inbound"]

    def opened(self) -> int:
        return sum(each["Opened"] for each in self.inbound())

    def against(self) -> dict[tuple[str, str], int]:
        """Connections that were let through although intentions deny them, by (source, destination)."""
        return {(each["Peer"], each["Service"]): each["Permitted"] for each in self.inbound() if each["Permitted"]}


def test_services_go_from_watched_to_enforced_and_nobody_who_was_seen_notices(tmp_path: Path) -> None:
    with HttpApp("shop") as shop, HttpApp("orders") as orders, HttpApp("db") as db, HttpApp("plain") as plain:
        town = Town(tmp_path, {"shop": shop, "orders": orders, "db": db, "plain": plain})
        with town.agent as agent:
            everybody = (*EDGE, *CRITICAL, *ALL)

            # What hurt: all is denied.
            eventually(lambda: "proxy attached" in agent.log(), "sidecars run")
            assert all(town.refused(*way) for way in town.known)
            assert fetch(plain.port) == "plain"

            # Watched: all of it flows, and what would be denied is counted and named.
            town.mode(everybody, "permissive")
            for way in town.known:
                eventually(lambda way=way: town.flows(*way), f"{way} flows\n{agent.log()}", 20)
            eventually(lambda: set(town.against()) == set(town.known), "it is counted", 10)
            shown = eventually(lambda: (done := agent.cli("stat", "db")).returncode == 0 and done.stdout, "stat")
            assert "WOULD BE DENIED/S" in shown
            assert "intentions would deny" in agent.log_path.read_text()
            why = agent.cli("intention", "why", "report", "db")
            assert why.returncode == 0
            assert "let through: db only watches" in why.stdout

            # The intentions are written from what was seen.
            suggested = agent.cli("intention", "suggest")
            assert suggested.returncode == 0
            assert suggested.stdout.count("chowk intention create -allow") == len(town.known)
            assert "stranger" not in suggested.stdout
            run_lines(agent, suggested.stdout)
            for source, to in town.known:
                asked = agent.cli("intention", "why", source, to)
                assert asked.stdout.startswith("Allowed"), asked.stdout
            again = agent.cli("intention", "suggest").stdout
            assert "chowk intention create" not in again, "nothing more is needed"
            opened, before = town.opened(), town.against()
            assert all(town.flows(*way) for way in town.known)
            eventually(lambda: town.opened() == opened + len(town.known), "the calls are counted")
            assert town.against() == before, "nothing that was seen would be denied"

            # Step by step: who is enforced refuses strangers, who is not lets them in.
            for done, step in enumerate((EDGE, CRITICAL, ALL), 1):
                town.mode(step, "enforce")
                enforced, watched = everybody[:done], everybody[done:]
                for name in enforced:
                    eventually(lambda name=name: town.refused("stranger", name), f"{name} is enforced\n{agent.log()}")
                assert all(town.flows("stranger", name) for name in watched)
                assert all(town.flows(*way) for way in town.known)
                assert fetch(plain.port) == "plain"
            why = agent.cli("intention", "why", "stranger", "db")
            assert why.returncode == 1
            assert "chowk intention create -allow stranger db would allow it" in why.stdout


def run_lines(agent: AgentProcess, lines: str) -> None:
    """Run what was printed in a shell, as somebody would who pipes it into one."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CHOWK_HTTP_ADDR": f"127.0.0.1:{agent.http_port}",
    }
    subprocess.run(["sh", "-e"], input=lines, text=True, env=environment, check=True, timeout=60)
