"""Several RaftConsensus in one process over real TCP on loopback: what gossip would say is what this rig knows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chowk.core.records.member import ALIVE, FAILED, Member
from chowk.core.runtime.clock import SystemClock
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.endpoints import Endpoints
from chowk.core.runtime.rpc.identity import ClusterIdentity
from chowk.core.runtime.rpc.tcp import TcpListener, dial_tcp
from chowk.core.server_options import RaftTuning
from chowk.server.consensus import RaftConsensus
from chowk.server.port import PeerNetwork
from chowk.server.raft.records import Member as RaftMember
from chowk.server.raft.settings import Settings
from chowk.server.storage.durable import DurableStorage
from chowk.server.storage.filesystem import FileSystem
from support.proposing_server import Journal

QUICK = Settings(election_timeout_s=0.3, heartbeat_s=0.04)


class Node:
    """One server of the rig; `start` again after `stop` or `kill` on the same folder and port."""

    def __init__(self, rig: PeerRig, name: str, expect: int, files: FileSystem | None) -> None:
        self.rig = rig
        self.name = name
        self.expect = expect
        self.files = files
        self.folder = rig.folder / name
        self.port = 0
        self.is_up = False
        self.identity: ClusterIdentity | None = None
        self.failures: list[BaseException] = []
        self.endpoints = Endpoints()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.endpoints = endpoints = Endpoints()
        self.listener = TcpListener("127.0.0.1", self.port, endpoints, self.identity)
        await self.listener.start()
        self.port = self.listener.port
        self.machine = Journal()
        self.consensus = RaftConsensus(
            self.machine,
            DurableStorage(self.folder, self.files),
            RaftMember(self.name, self.address, self.name),
            self.expect,
            SystemClock(),
            random.Random(f"{self.rig.seed}-{self.name}"),
            tuning=self.rig.tuning,
            settings=self.rig.settings,
            on_failure=self.failures.append,
        )
        self.consensus.join(PeerNetwork(endpoints=endpoints, dial=self._dial, members=self.rig.members))
        self.is_up = True
        await self.consensus.start()

    async def _dial(self, address: str) -> RpcConnection:
        return await dial_tcp(address, self.identity)

    async def stop(self) -> None:
        self.is_up = False
        await self.listener.close()
        await self.consensus.stop()


class PeerRig:
    def __init__(self, folder: Path, tuning: RaftTuning, settings: Settings) -> None:
        self.folder = folder
        self.tuning = tuning
        self.settings = settings
        self.seed = 1
        self.nodes: dict[str, Node] = {}

    def add(self, name: str, expect: int = 3, files: FileSystem | None = None) -> Node:
        self.nodes[name] = Node(self, name, expect, files)
        return self.nodes[name]

    def members(self) -> tuple[Member, ...]:
        return tuple(
            Member(
                name=node.name,
                address="127.0.0.1",
                port=node.port,
                status=ALIVE if node.is_up else FAILED,
                tags={"role": "consul", "id": node.name, "port": str(node.port), "expect": str(node.expect)},
            )
            for node in self.nodes.values()
            if node.port
        )

    async def leader(self) -> Node:
        await until(lambda: any(node.is_up and node.consensus.is_leader for node in self.nodes.values()))
        return next(node for node in self.nodes.values() if node.is_up and node.consensus.is_leader)

    def followers(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.is_up and not node.consensus.is_leader]


async def until(true: Callable[[], Any], within_s: float = 15.0) -> None:
    """Look until it is so; the sockets and files of the rig are real, and so is its time."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def peer_rig(
    folder: Path, names: str = "abc", *, tuning: RaftTuning | None = None, settings: Settings = QUICK
) -> AsyncIterator[PeerRig]:
    """`names` are started, one letter each, and expect each other."""
    rig = PeerRig(folder, tuning or RaftTuning(), settings)
    try:
        for name in names:
            rig.add(name, len(names))
        for node in list(rig.nodes.values()):
            await node.start()
        yield rig
    finally:
        for node in rig.nodes.values():
            if node.is_up:
                await node.stop()
