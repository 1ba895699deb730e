"""No endpoint answers before the permission its method names was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from chowk.core.errors import PermissionDenied
from chowk.core.events import StreamFrame, Topic
from chowk.core.requests import CATALOG_NODES, SUBSCRIBE, NodesReply, QueryMeta, QueryOptions, Read, SubscribeRequest
from chowk.core.runtime.rpc.endpoints import Peer
from chowk.server.rpc.gate import Gate


class OnlyWith:
    """Lets one token have one permission."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def require(self, permission: str, token: str, peer: Peer) -> None:
        self.asked.append((permission, token))
        if token != "good":
            raise PermissionDenied(f"Permission denied: {permission}")


def test_calls_and_streams_stand_behind_their_permission() -> None:
    async def scene() -> None:
        authorizer = OnlyWith()
        gate = Gate(authorizer)
        reached = []

        async def nodes(request: Read) -> NodesReply:
            reached.append(request)
            return NodesReply(meta=QueryMeta(), nodes=())

        async def frames(request: SubscribeRequest) -> AsyncIterator[StreamFrame]:
            reached.append(request)
            yield StreamFrame(index=1)

        gate.serve(CATALOG_NODES, nodes)
        gate.serve_stream(SUBSCRIBE, frames)
        call = gate.endpoints.calls[CATALOG_NODES.name][1]
        stream = gate.endpoints.streams[SUBSCRIBE.name][1]
        with pytest.raises(PermissionDenied):
            await call(Read(options=QueryOptions(token="bad")), Peer("x"))
        with pytest.raises(PermissionDenied):
            await anext(stream(SubscribeRequest(topic=Topic(kind="nodes"), token="bad"), Peer("x")))
        assert reached == []
        await call(Read(options=QueryOptions(token="good")), Peer("x"))
        await anext(stream(SubscribeRequest(topic=Topic(kind="nodes"), token="good"), Peer("x")))
        assert len(reached) == 2
        assert authorizer.asked == [
            ("node:read", "bad"),
            ("service:read", "bad"),
            ("node:read", "good"),
            ("service:read", "good"),
        ]

    asyncio.run(scene())
