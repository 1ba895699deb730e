"""Whole servers in one process over real TCP and mutual TLS, with disks; what gossip would say is what this rig says."""

from __future__ import annotations

import asyncio
import base64
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from chowk.core.cluster_requests import MEMBERS_REPORT, MembersReport
from chowk.core.commands import AnyCommand
from chowk.core.errors import ChowkError
from chowk.core.records.member import ALIVE, FAILED, Member
from chowk.core.requests import Method, Write, WriteReply
from chowk.core.runtime.clock import SystemClock
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.listener import dial_unix
from chowk.core.server_options import Autopilot, RaftTuning, ServerOptions
from chowk.server.consensus import RaftConsensus
from chowk.server.raft.records import Member as RaftMember
from chowk.server.raft.settings import Settings
from chowk.server.server import Server
from chowk.server.state.machine import StoreMachine
from chowk.server.storage.durable import DurableStorage
from support.cli_agent import free_port

QUICK = Settings(election_timeout_s=0.4, heartbeat_s=0.05)
PATIENT_S = 20.0


class Host:
    """One server and its agent's connection; `start` again after `stop`, on the same folder and port."""

    def __init__(self, cluster: ServerCluster, name: str, expect: int) -> None:
        self.cluster = cluster
        self.name = name
        self.id = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        self.expect = expect
        self.folder = cluster.folder / name
        self.folder.mkdir()
        self.port = free_port()
        self.status = ALIVE
        self.server: Server | None = None
        self.client: RpcConnection | None = None
        self.sequence = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def is_up(self) -> bool:
        return self.server is not None

    async def start(self) -> None:
        options = ServerOptions(
            node_id=self.id,
            node_name=self.name,
            address=self.address,
            rpc_port=self.port,
            bootstrap_expect=self.expect,
            keys=self.cluster.keys,
            socket_path=str(self.folder / "s.sock"),
            data_dir=str(self.folder),
            autopilot=self.cluster.autopilot,
        )
        self.machine = StoreMachine()
        clock, rng = SystemClock(), random.Random(self.name)
        self.consensus = RaftConsensus(
            self.machine,
            DurableStorage(self.folder / "raft"),
            RaftMember(self.id, self.address, self.name),
            self.expect,
            clock,
            rng,
            tuning=RaftTuning(),
            settings=QUICK,
            on_failure=self.cluster.failures.append,
        )
        server = Server(options, self.machine, self.consensus, clock, rng)
        await server.start()
        self.server, self.status = server, ALIVE
        self.client = await dial_unix(self.folder / "s.sock")

    async def stop(self) -> None:
        """As on SIGTERM."""
        server, self.server, self.status = self.server, None, FAILED
        if self.client is not None:
            await self.client.close()
        if server is not None:
            await server.stop()

    async def call(self, method: Method[Any, Any], request: Any, timeout_s: float = 15.0) -> Any:
        assert self.client is not None
        return await self.client.call(method, request, timeout_s=timeout_s)

    async def write(self, method: Method[Write, WriteReply], command: AnyCommand) -> WriteReply:
        self.sequence += 1
        write = Write(command=command, client=self.name, sequence=self.sequence)
        reply: WriteReply = await self.call(method, write)
        return reply

    def member(self) -> Member:
        tags = {"role": "consul", "dc": "dc1", "id": self.id, "port": str(self.port), "build": "1"}
        if self.expect:
            tags["expect"] = str(self.expect)
        return Member(name=self.name, address="127.0.0.1", port=self.port, status=self.status, tags=tags)


class ServerCluster:
    def __init__(self, folder: Path, autopilot: Autopilot, *, encrypted: bool) -> None:
        self.folder = folder
        self.autopilot = autopilot
        self.keys = (base64.b64encode(random.Random(5).randbytes(32)).decode(),) if encrypted else ()
        self.hosts: dict[str, Host] = {}
        self.clients: list[Member] = []
        self.failures: list[BaseException] = []

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def add(self, name: str, expect: int = 0) -> Host:
        self.hosts[name] = Host(self, name, expect)
        return self.hosts[name]

    @property
    def up(self) -> list[Host]:
        return [host for host in self.hosts.values() if host.is_up]

    async def gossip(self) -> None:
        """Tell every running server what its agent would, again and again."""
        while True:
            report = MembersReport(members=(*(host.member() for host in self.hosts.values()), *self.clients))
            for host in self.up:
                if host.client is not None and not host.client.closed:
                    with suppress(ChowkError):  # the host may be stopping
                        await host.client.call(MEMBERS_REPORT, report, timeout_s=5.0)
            await asyncio.sleep(0.1)

    async def leader(self, *, but: Host | None = None) -> Host:
        found: list[Host] = []

        def leads() -> bool:
            found[:] = [host for host in self.up if host.consensus.is_leader and host is not but]
            return bool(found)

        await until(leads)
        return found[0]

    def followers(self) -> list[Host]:
        return [host for host in self.up if not host.consensus.is_leader]


async def until(true: Callable[[], Any], within_s: float = PATIENT_S) -> None:
    """Look until it is so; sockets, files and time are real here."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def server_cluster(
    folder: Path, names: str = "abc", *, encrypted: bool = True, autopilot: Autopilot | None = None
) -> AsyncIterator[ServerCluster]:
    """`names` are started, one letter each, and expect each other; it begins when one leads and is the CA."""
    cluster = ServerCluster(folder, autopilot or Autopilot(), encrypted=encrypted)
    gossip: asyncio.Task[None] | None = None
    try:
        for name in names:
            await cluster.add(name, len(names)).start()
        gossip = asyncio.ensure_future(cluster.gossip())
        leader = await cluster.leader()
        assert leader.server is not None
        async with asyncio.timeout(PATIENT_S):
            await leader.server.duties.done.wait()
        yield cluster
        if gossip.done():
            gossip.result()
    finally:
        if gossip is not None:
            gossip.cancel()
            await asyncio.wait([gossip])
        for host in cluster.up:
            await host.stop()
