"""A cluster of real agents on this host: each has an address of its own in 127.0.0.0/8, so that all use the usual ports."""

from __future__ import annotations

import base64
import os
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

from harness.agent import AgentProcess
from harness.waiting import eventually


class Cluster:
    """`servers` servers and `clients` agents without one, joined by gossip. A context manager: it leaves no process.

    `hcl` goes to every agent. With `encrypted` their traffic is sealed with one key made for this cluster. `network` is the
    first three bytes of their addresses, when not any of loopback.
    """

    def __init__(
        self,
        folder: Path,
        servers: int = 3,
        clients: int = 0,
        hcl: str = "",
        *,
        encrypted: bool = True,
        network: str = "",
    ) -> None:
        self.folder = folder
        self.servers_wanted = servers
        self.hcl = hcl
        self.key = base64.b64encode(os.urandom(32)).decode() if encrypted else ""
        self._network = network or f"127.{random.randrange(1, 255)}.{random.randrange(256)}"
        names = [f"server{number}" for number in range(1, servers + 1)]
        names += [f"client{number}" for number in range(1, clients + 1)]
        self.agents = {name: self._agent(name, 10 + place) for place, name in enumerate(names)}

    def _agent(self, name: str, host: int) -> AgentProcess:
        is_server = name.startswith("server")
        mode = ("-server", f"-bootstrap-expect={self.servers_wanted}") if is_server else ()
        joins = [f"-retry-join={self._network}.{10 + place}:8301" for place in range(min(3, self.servers_wanted))]
        key = (f"-encrypt={self.key}",) if self.key else ()
        agent = AgentProcess(
            self.folder / name,
            f'retry_interval = "500ms"\n{self.hcl}',
            dev=False,
            node=name,
            address=f"{self._network}.{host}",
            mode=mode,
            flags=(*joins, *key),
        )
        agent.http_port, agent.dns_port, agent.rpc_port, agent.gossip_port = 8500, 8600, 8300, 8301
        return agent

    def add(self, name: str, *, hcl: str = "") -> AgentProcess:
        """One more agent, not started; a name that starts with `server` makes it a server that waits to be added."""
        agent = self.agents[name] = self._agent(name, 10 + len(self.agents))
        agent.mode = ("-server",) if name.startswith("server") else ()
        agent.write("more.hcl", hcl)
        return agent

    def __getitem__(self, name: str) -> AgentProcess:
        return self.agents[name]

    @property
    def servers(self) -> list[AgentProcess]:
        """The agents with a server."""
        return [agent for name, agent in self.agents.items() if name.startswith("server")]

    @property
    def running(self) -> list[AgentProcess]:
        """Those that run now."""
        return [agent for agent in self.agents.values() if agent.process and agent.process.poll() is None]

    def start(self) -> Cluster:
        """Start all, and wait until a leader leads and every node is in the catalog, passing, as every agent sees it."""
        for agent in self.agents.values():
            agent.start(wait=False)
        self.wait_ready()
        return self

    def wait_ready(self, timeout_s: float = 40.0) -> None:
        """Return when every running agent sees every running node alive."""
        for agent in self.running:
            eventually(lambda agent=agent: self._sees_all(agent), f"{agent.node} ready\n{agent.log()}", timeout_s)

    def _sees_all(self, agent: AgentProcess) -> bool:
        names = sorted(each.node for each in self.running)
        passing = {row["Node"] for row in agent.get("/v1/health/state/passing") if row["CheckID"] == "serfHealth"}
        return passing.issuperset(names) and bool(agent.get("/v1/status/leader"))

    def leader(self, *, but: AgentProcess | None = None, timeout_s: float = 20.0) -> AgentProcess:
        """The agent whose server leads, as a majority of the running servers say; not `but`."""

        def found() -> AgentProcess | None:
            votes: dict[str, int] = {}
            for agent in self.servers:
                if agent in self.running and agent is not but:
                    try:
                        address = agent.get("/v1/status/leader")
                    except (OSError, AssertionError):
                        continue
                    votes[address] = votes.get(address, 0) + 1
            best = max(votes, key=lambda address: votes[address], default="")
            agent = next((each for each in self.servers if best == f"{each.address}:{each.rpc_port}"), None)
            return agent if agent is not but and votes.get(best, 0) > 0 else None

        return eventually(found, "a leader", timeout_s)

    def kill(self, agent: AgentProcess) -> None:
        """kill -9 of everything of this host at once, as when its power goes."""
        for pid in agent.descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if agent.process is not None:
            agent.process.wait(10)

    def __enter__(self) -> Cluster:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: Any) -> None:
        """Stop all; what does not end is killed."""
        for agent in self.running:
            if agent.process is not None:
                agent.process.send_signal(signal.SIGTERM)
        for agent in self.agents.values():
            if agent.process is not None:
                try:
                    agent.process.wait(20)
                except subprocess.TimeoutExpired:
                    pass
            self.kill(agent)
