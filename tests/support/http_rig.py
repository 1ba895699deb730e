"""HTTP applications and clients of a test: a server that may be scripted, one raw client, and a pair of HTTP proxies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from chowk.connect.snapshot import Cluster, Endpoint, HttpRoute, InboundSnapshot, Split, Target, UpstreamSnapshot
from support.mesh_rig import client_snapshot, server_snapshot, until
from support.proxy_rig import Rig, free_port

Script = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class HttpApp:
    """Answers each request 200 with `body_of(head, body)`, by default the name, the target and the body's size.

    `script`, when set, gets the head and the streams instead, and may lie. `heads` are all heads received, `connections` how
    many were made.
    """

    def __init__(self, name: str = "app") -> None:
        self.name = name
        self.port = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.script: Script | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> HttpApp:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def close(self) -> None:
        self._server.close()
        self.drop()

    def drop(self) -> None:
        """Close every connection there is."""
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if self.script is not None:
                    await self.script(head, reader, writer)
                    continue
                body = await body_of(head, reader)
                self.bodies.append(body)
                method, target = head.split(b" ", 2)[:2]
                text = b"%s %s %d" % (self.name.encode(), target, len(body))
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), b"" if method == b"HEAD" else text)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def header(self, name: str, number: int = -1) -> str | None:
        """The value of a header of a head received."""
        return header_of(self.heads[number], name)


def header_of(head: bytes, name: str) -> str | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower().decode() == name.lower():
            return value.strip().decode("latin-1")
    return None


async def body_of(head: bytes, reader: asyncio.StreamReader) -> bytes:
    if header_of(head, "transfer-encoding") == "chunked":
        found = b""
        while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
            found += await reader.readexactly(size)
            await reader.readexactly(2)
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return found
    return await reader.readexactly(int(header_of(head, "content-length") or 0))


class Answer(msgspec.Struct):
    """What a client got. `body` is without chunks."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        return header_of(self.head, name)

    @property
    def error(self) -> str | None:
        return self.header("x-chowk-error")


class Client:
    """One raw connection: what is sent is up to the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(self, target: str = "/", method: str = "GET", headers: str = "", body: bytes = b"") -> Answer:
        """One request and its answer. `headers` are whole lines."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.send(f"{method} {target} HTTP/1.1\r\nHost: api\r\n{length}{headers}\r\n".encode() + body)
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> Answer:
        """The next answer; interim ones come as answers too. An IncompleteReadError or OSError when it is cut."""
        async with asyncio.timeout(8):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            bodyless = method == "HEAD" or status < 200 or status in (204, 304)
            return Answer(status, head, b"" if bodyless else await body_of(head, self.reader))

    async def ended(self) -> bytes:
        """What comes until the end; a ConnectionResetError when it is a reset."""
        async with asyncio.timeout(8):
            return await self.reader.read()

    def close(self) -> None:
        self.writer.close()


async def once(port: int, target: str = "/", method: str = "GET", headers: str = "", body: bytes = b"") -> Answer:
    """One request on a connection of its own."""
    client = await Client.open(port)
    try:
        return await client.ask(target, method, headers, body)
    finally:
        client.close()


class HttpRig(Rig):
    """`pair` makes web → api over HTTP; `http` is the application behind it."""

    async def __aenter__(self) -> HttpRig:
        await super().__aenter__()
        self.http = await HttpApp().start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__(*_)
        self.http.close()

    async def serve_http(self, service: str = "api", app: HttpApp | None = None, **more: object) -> int:
        """A sidecar in front of an HTTP application; its public port."""
        port = free_port()
        fields = {k: more.pop(k) for k in list(more) if k in InboundSnapshot.__struct_fields__}
        inbound = InboundSnapshot(
            bind_address="127.0.0.1",
            bind_port=port,
            local_port=(app or self.http).port,
            protocol="http",
            **fields,
        )
        await self.serve_at(service, inbound, **more)
        return port

    async def serve_at(self, service: str, inbound: InboundSnapshot, **more: object) -> None:
        self.agent.publish(server_snapshot(self.ca, service, 0, 0, inbound=inbound, **more))
        proxy = self.run(service)
        await until(lambda: self.listening(proxy), f"{service} listens")

    async def pair_http(self, **more: object) -> int:
        return await self.use("web", "api", [await self.serve_http("api", **more)], protocol="http")

    async def routed(self, routes: tuple[HttpRoute, ...], clusters: dict[str, list[int]], **more: object) -> int:
        """A sidecar `web` with one upstream of these routes; `clusters` are public ports by name, `more` of each cluster."""
        port = free_port()
        self.route(port, routes, clusters, **more)
        proxy = self.run("web")
        await until(lambda: self.listening(proxy), "web listens")
        return port

    def route(self, port: int, routes: tuple[HttpRoute, ...], clusters: dict[str, list[int]], **more: object) -> None:
        targets = {
            name: Target(
                id=name,
                service=name,
                datacenter="dc1",
                spiffe_id=str(self.ca.identity(name.split(".")[0])),
                endpoints=tuple(
                    Endpoint(key=f"n1/{name}-{number}", address="127.0.0.1", port=each)
                    for number, each in enumerate(ports)
                ),
            )
            for name, ports in clusters.items()
        }
        upstream = UpstreamSnapshot(
            name="api",
            bind_port=port,
            protocol="http",
            routes=routes,
            clusters={name: Cluster(**{"name": name, "targets": (name,), **more}) for name in clusters},
        )
        snapshot = client_snapshot(self.ca, "web", "api", port, [])
        self.agent.publish(msgspec.structs.replace(snapshot, upstreams=(upstream,), targets=targets))


def to(cluster: str, name: str = "default", **more: object) -> HttpRoute:
    """A route whose requests all go to one cluster."""
    return HttpRoute(name=name, splits=(Split(cluster=cluster),), **more)
