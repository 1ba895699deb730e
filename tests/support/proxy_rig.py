"""Proxies of a test: a fake agent and in-process `Proxy` objects on free ports, all ended with the `async with`."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path

from chowk.connect.proxy.proxy import Proxy
from chowk.connect.proxy.state import ProxySettings
from chowk.core.runtime.clock import SystemClock
from chowk.core.runtime.tasks import TaskOwner
from support.mesh_rig import FakeAgent, MeshCA, client_snapshot, server_snapshot, until


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class App:
    """A TCP application: reads until the end of input, then answers `NAME:` and what it got. Counts what comes."""

    def __init__(self, name: str = "app") -> None:
        self.name = name.encode()
        self.port = 0
        self.connections = 0
        self.bytes = 0

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096, limit=16 * 1024 * 1024)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while line := await reader.readline():
                self.bytes += len(line)
                writer.write(self.name + b":" + line)
                await writer.drain()
            writer.write(b"end")
        except OSError:
            pass
        finally:
            writer.close()


class Rig:
    """`pair` makes web → api. `proxies` are by service."""

    def __init__(self, folder: Path, ca: MeshCA | None = None, **settings: object) -> None:
        self.folder = folder
        self.ca = ca or MeshCA()
        self.agent = FakeAgent(folder / "proxies.sock", self.ca)
        self.settings = ProxySettings(**settings)
        self.proxies: dict[str, Proxy] = {}
        self.runs: dict[str, asyncio.Task[None]] = {}
        self.app = App()
        self._tasks = TaskOwner("rig")

    async def __aenter__(self) -> Rig:
        await self.agent.start()
        await self.app.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for proxy in self.proxies.values():
            proxy.state.settings = ProxySettings(drain_s=0.0)
            proxy.stop("test over")
        for run in self.runs.values():
            await run
        await self._tasks.close()
        await self.agent.close()
        self.app.server.close()

    def run(self, service: str) -> Proxy:
        proxy = self.proxies[service] = Proxy(
            f"{service}-proxy",
            self.folder / "proxies.sock",
            manual=False,
            clock=SystemClock(),
            rng=random.Random(1),
            settings=self.settings,
        )
        self.runs[service] = self._tasks.spawn(proxy.run(), service)
        return proxy

    async def serve(self, service: str = "api", **more: object) -> int:
        """A sidecar in front of the app; its public port, listening."""
        port = free_port()
        self.agent.publish(server_snapshot(self.ca, service, port, self.app.port, **more))
        proxy = self.run(service)
        await until(lambda: self.listening(proxy), f"{service} listens")
        return port

    async def use(self, service: str, upstream: str, ports: list[int], **more: object) -> int:
        """A sidecar with one upstream; the upstream's local port, listening."""
        port = free_port()
        self.agent.publish(client_snapshot(self.ca, service, upstream, port, ports, **more))
        proxy = self.run(service)
        await until(lambda: self.listening(proxy), f"{service} listens")
        return port

    async def pair(self) -> int:
        return await self.use("web", "api", [await self.serve("api")])

    @staticmethod
    def listening(proxy: Proxy) -> bool:
        return bool(proxy.listeners) and all(not listener.error for listener in proxy.listeners.values())


async def talk(port: int, text: bytes = b"hello\n") -> bytes:
    """Send, half-close, read everything. b"" or an OSError when the connection is refused or reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        writer.write_eof()
        async with asyncio.timeout(8):
            return await reader.read()
    finally:
        writer.close()


async def refused(port: int) -> bool:
    """Whether a connection carries nothing."""
    try:
        return not await talk(port)
    except OSError:
        return True
