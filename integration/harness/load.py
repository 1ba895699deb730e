"""A closed-loop HTTP load in a process of its own: the same few microseconds a request for every system measured.

`run_load` starts it and returns what it saw. The protocol reads just enough HTTP to know where a reply ends.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figures:
    """Requests a second, and latencies in milliseconds; `errors` are replies that were not 200."""

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


class _Connection(asyncio.Protocol):
    """One request at a time, the next as soon as the reply is whole."""

    def __init__(self, requests: list[bytes], first: int, step: int, ends: float) -> None:
        self._requests = requests
        self._next = first
        self._step = step
        self._ends = ends
        self._buffer = b""
        self.latencies_s: list[float] = []
        self.errors = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])  # type: ignore[attr-defined]
        self._next += self._step

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) < length:
            return
        self._buffer = body[length:]
        now = time.perf_counter()
        self.latencies_s.append(now - self._began)
        self.errors += not head.startswith(b"HTTP/1.1 200")
        if now < self._ends:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _load(plan: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    requests = [text.encode("latin-1") for text in plan["requests"]]
    connections = plan["connections"]
    began = time.perf_counter()
    protocols = []
    for number in range(connections):
        host, port = plan["targets"][number % len(plan["targets"])]
        _, protocol = await loop.create_connection(
            lambda number=number: _Connection(requests, number, connections, began + plan["seconds"]), host, port
        )
        protocols.append(protocol)
    await asyncio.gather(*(protocol.done for protocol in protocols))
    took = time.perf_counter() - began
    latencies = sorted(each for protocol in protocols for each in protocol.latencies_s)
    return {
        "per_second": len(latencies) / took,
        "p50_ms": statistics.median(latencies) * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99) - 1] * 1000,
        "errors": sum(protocol.errors for protocol in protocols),
    }


def run_load(targets: list[tuple[str, int]], requests: list[bytes], connections: int, seconds: float) -> Figures:
    """Send `requests` round robin over `connections` keep-alive connections to the targets for `seconds`."""
    plan = {
        "targets": targets,
        "requests": [request.decode("latin-1") for request in requests],
        "connections": connections,
        "seconds": seconds,
    }
    done = subprocess.run(
        [sys.executable, __file__], input=json.dumps(plan), capture_output=True, text=True, timeout=seconds + 60
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Figures(**json.loads(done.stdout))


def http_request(method: str, path: str, body: bytes = b"", host: str = "localhost") -> bytes:
    """The bytes of one request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(_load(json.load(sys.stdin)))))
