"""Two hosts and a server of their own: the smallest mesh whose control plane can be taken away."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.cluster import Cluster
from harness.mesh import fetch
from harness.ports import free_port
from harness.waiting import eventually

ALLOW = 'default_intention_policy = "deny"'


class Hosts:
    """One server without services; `client1` has web with an upstream to api, `client2` has api. A context manager."""

    def __init__(self, folder: Path, web: HttpApp, api: HttpApp, hcl: str = "") -> None:
        self.upstream = free_port()
        self.cluster = Cluster(folder, servers=1, clients=2, hcl=f"{ALLOW}\n{hcl}")
        self.here, self.there = self.cluster["client1"], self.cluster["client2"]
        self.here.write(
            "web.hcl",
            f"""service {{
              name = "web", port = {web.port}
              connect {{ sidecar_service {{ proxy {{ upstreams = [ {{
                destination_name = "api", local_bind_port = {self.upstream}
              }} ] }} }} }}
            }}""",
        )
        self.there.write(
            "api.hcl", f'service {{ name = "api", port = {api.port}, connect {{ sidecar_service {{ }} }} }}'
        )

    def flows(self) -> bool:
        return fetch(self.upstream) == "api"

    def __enter__(self) -> Hosts:
        self.cluster.__enter__()
        try:
            self._wait_ready()
        except BaseException:
            self.cluster.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.__exit__()

    def _wait_ready(self) -> None:
        """Until traffic flows, and what each sidecar knows is on the disk."""
        assert self.cluster["server1"].cli("intention", "create", "-allow", "web", "api").returncode == 0
        eventually(self.flows, f"the mesh is up\n{self.here.log()}\n{self.there.log()}", 20)
        eventually(lambda: self.kept(self.here), "the caller's snapshot is kept", 10)
        eventually(lambda: b"web" in self.kept(self.there)[0].read_bytes(), "the other's too, with the intention", 40)

    @staticmethod
    def kept(agent: AgentProcess) -> list[Path]:
        return sorted((agent.data_dir / "mesh").glob("*.snapshot"))

    def lose_servers(self) -> None:
        power_off(self.cluster["server1"])


def power_off(agent: AgentProcess) -> None:
    """Every process of a host ends at once, and none of them can say anything."""
    for pid in agent.descendants():
        os.kill(pid, signal.SIGKILL)
    if agent.process is not None:
        agent.process.wait(10)
    eventually(lambda: not agent.descendants(), "its processes are gone")


def sidecar(agent: AgentProcess) -> int:
    """The pid of the agent's one sidecar."""
    [pid] = [pid for pid in agent.descendants() if Path(f"/proc/{pid}/comm").read_text().strip() == "chowk-proxy"]
    return pid
