"""What a connection leaves behind: nothing for the collector of cycles, which comes late and would find all of its buffers.

A sidecar that carried ten thousand short connections held 60 MB of such rings.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from support.http_rig import HttpRig
from support.mesh_rig import until
from support.proxy_rig import Rig

CONNECTIONS = 10
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEADS = b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n"
CLOSE = b"Connection: close\r\n"


async def app(head, reader, writer):
    text = bytes(head)
    if b"/cut" in text:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + bytes(3000))
        await writer.drain()
        writer.close()
    elif b"/big" in text:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000))
        await writer.drain()
    else:
        writer.write(OK)


async def call(port: int, sent: bytes, reads: str, *, ends: bool = False, begun: Callable[[], bool] = bool) -> None:
    """One connection. It `reads` "all" of the answer, or goes after "some", or when its request has `begun`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    if ends:
        writer.write_eof()
    if reads == "all":
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(65536):
                """Until the end."""
    elif reads == "some":
        await reader.read(65536)
    else:
        await until(begun, "the request has begun")
    if reads != "all":
        writer.transport.abort()
    writer.close()


async def rings(calls: Callable[[], Awaitable[None]], settled: Callable[[], bool]) -> Counter[str]:
    """Objects of ours, and of TLS, that only the collector can free after a few `calls`."""
    for _ in range(3):
        await calls()
    await asyncio.sleep(0)
    gc.collect()
    gc.disable()
    try:
        for _ in range(CONNECTIONS):
            await calls()
        while not settled():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return Counter(
            f"{type(each).__module__}.{type(each).__qualname__}"
            for each in gc.garbage
            if type(each).__module__.startswith(("chowk.", "ssl", "_ssl"))
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize(
    ("sent", "reads"),
    [
        (HEADS % (b"/", CLOSE), "all"),
        (HEADS % (b"/", b""), "some"),
        (HEADS % (b"/big", b""), "some"),
        (HEADS % (b"/cut", b""), "all"),
        (b"NONSENSE\r\n\r\n", "all"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n" + CLOSE + b"\r\nhello", "all"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\nhello", "none"),
    ],
)
def test_http_connections_leave_nothing_to_collect(sent, reads, tmp_path):
    async def run():
        async with HttpRig(tmp_path, http_linger_s=0.1, http_look_s=0.05) as rig:
            port = await rig.pair_http()
            rig.http.script = app
            served = rig.proxies["web"].state.http.served
            found = await rings(lambda: call(port, sent, reads, begun=lambda: bool(served)), lambda: not served)
            assert not found

    uvloop.run(run())


@pytest.mark.parametrize("reads", ["all", "some"])
def test_tcp_connections_leave_nothing_to_collect(reads, tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.use("web", "api", [await rig.serve("api")])
            pipes = rig.proxies["web"].state.pipes
            assert not await rings(lambda: call(port, b"hello", reads, ends=True), lambda: not pipes)

    uvloop.run(run())
