"""A server room in miniature: real RPC over a real socket, canned answers, streams that tests feed by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from chowk.core.events import StreamFrame, Topic
from chowk.core.requests import SUBSCRIBE, Method, SubscribeRequest
from chowk.core.runtime.rpc.endpoints import Endpoints, Peer
from chowk.core.runtime.rpc.identity import ClusterIdentity
from chowk.core.runtime.rpc.listener import RpcListener
from chowk.core.runtime.rpc.tcp import TcpListener


class FakeServer:
    """On the Unix socket `path`, or without one over TCP. `answer(method, reply or function)` sets what a method answers;
    `calls` lists what was asked."""

    def __init__(self, path: Path | None = None, identity: ClusterIdentity | None = None) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.cancelled: list[str] = []
        self.subscriptions: list[SubscribeRequest] = []
        self._feeds: dict[Topic, list[asyncio.Queue[StreamFrame]]] = {}
        self.snapshots: dict[Topic, tuple[StreamFrame, ...]] = {}
        self._endpoints = Endpoints()
        self._endpoints.serve_stream(SUBSCRIBE, self._subscribe)
        self._tcp = None if path is not None else TcpListener("127.0.0.1", 0, self._endpoints, identity)
        self._listener = self._tcp or RpcListener(path, self._endpoints)  # type: ignore[arg-type]

    @property
    def address(self) -> str:
        """Of one over TCP, once it was started; started again it has the same."""
        return f"127.0.0.1:{self._tcp.port}" if self._tcp is not None else ""

    def answer(self, method: Method[Any, Any], reply: Any) -> None:
        async def handle(request: Any, _peer: Peer) -> Any:
            self.calls.append((method.name, request))
            try:
                result = reply(request) if callable(reply) else reply
                if isinstance(result, Awaitable):
                    result = await result
            except asyncio.CancelledError:
                self.cancelled.append(method.name)
                raise
            if isinstance(result, Exception):
                raise result
            return result

        self._endpoints.serve(method, handle)

    def publish(self, topic: Topic, frame: StreamFrame) -> None:
        """Send a live frame to whoever follows the topic."""
        for feed in self._feeds.get(topic, []):
            feed.put_nowait(frame)

    async def _subscribe(self, request: SubscribeRequest, _peer: Peer) -> AsyncIterator[StreamFrame]:
        self.subscriptions.append(request)
        feed: asyncio.Queue[StreamFrame] = asyncio.Queue()
        self._feeds.setdefault(request.topic, []).append(feed)
        try:
            if not request.index:
                for frame in self.snapshots.get(request.topic, (StreamFrame(index=1, reset=True, snapshot_done=True),)):
                    yield frame
            while True:
                yield await feed.get()
        finally:
            self._feeds[request.topic].remove(feed)

    async def start(self) -> None:
        await self._listener.start()

    async def close(self) -> None:
        await self._listener.close()


async def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
    """Let the loop run until `condition()` holds; fails the test when it does not in time."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)
