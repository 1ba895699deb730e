"""A whole server over the stand-in for consensus, with a connected client: for tests of what a server answers."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chowk.core.commands import AnyCommand
from chowk.core.requests import Method, Write, WriteReply
from chowk.core.runtime.clock import Clock, SystemClock
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.listener import dial_unix
from chowk.core.server_options import ServerOptions
from chowk.server.server import Server
from chowk.server.state.machine import StoreMachine
from support.consensus import SoloConsensus


class Rig:
    def __init__(self, server: Server, consensus: SoloConsensus, client: RpcConnection, machine: StoreMachine) -> None:
        self.server = server
        self.consensus = consensus
        self.client = client
        self.machine = machine
        self.sequence = 0

    async def call(self, method: Method[Any, Any], request: Any, timeout_s: float = 5.0) -> Any:
        return await self.client.call(method, request, timeout_s=timeout_s)

    async def write(self, method: Method[Write, WriteReply], command: AnyCommand) -> WriteReply:
        self.sequence += 1
        write = Write(command=command, client="rig", sequence=self.sequence)
        return await self.client.call(method, write, timeout_s=5.0)


@asynccontextmanager
async def running_server(folder: Path, clock: Clock | None = None, **options: Any) -> AsyncIterator[Rig]:
    socket_path = folder / "server.sock"
    machine = StoreMachine()
    consensus = SoloConsensus(machine)
    options.setdefault("rpc_hold_timeout_s", 0.3)
    options.setdefault("node_id", "")
    settings = ServerOptions(node_name="solo", socket_path=str(socket_path), **options)
    server = Server(settings, machine, consensus, clock or SystemClock(), random.Random(7))
    await server.start()
    await server.duties.done.wait()
    client = await dial_unix(socket_path)
    try:
        yield Rig(server, consensus, client, machine)
    finally:
        await client.close()
        await server.stop()
