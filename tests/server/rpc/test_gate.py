"""No endpoint answers before the permission its method names was asked for."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chowk.core.cluster_requests import KEYS_REPORT, MEMBERS_REPORT, KeysReport, MembersReport
from chowk.core.errors import ChowkError, PermissionDenied
from chowk.core.events import StreamFrame, Topic
from chowk.core.methods import METHODS
from chowk.core.peer_requests import FORWARD, Forwarded
from chowk.core.requests import (
    CATALOG_NODES,
    SUBSCRIBE,
    Empty,
    Method,
    NodesReply,
    QueryMeta,
    QueryOptions,
    Read,
    SubscribeRequest,
)
from chowk.core.runtime.clock import SystemClock
from chowk.core.runtime.rpc.endpoints import AGENT, LOCAL, SERVER, Peer
from chowk.core.runtime.rpc.identity import ClusterIdentity
from chowk.core.runtime.rpc.tcp import dial_tcp
from chowk.server.rpc.gate import Gate, Roles
from support.server_rig import running_server


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


@pytest.mark.parametrize("role", [LOCAL, AGENT, SERVER])
@pytest.mark.parametrize(
    ("permission", "roles"),
    [
        ("raft:peer", {SERVER}),
        ("agent:local", {LOCAL}),
        ("", {LOCAL, AGENT, SERVER}),
        ("node:read", {LOCAL, AGENT, SERVER}),
        ("service:write", {LOCAL, AGENT, SERVER}),
        ("operator:write", {LOCAL, AGENT, SERVER}),
    ],
)
def test_a_role_may_what_it_is_for_and_nothing_else(role: str, permission: str, roles: set[str]) -> None:
    peer = Peer("x", role=role)
    if role in roles:
        Roles().require(permission, "", peer)
    else:
        with pytest.raises(PermissionDenied, match=permission):
            Roles().require(permission, "", peer)


def test_an_unknown_role_may_nothing() -> None:
    for permission in {method.permission for method in METHODS.values()}:
        with pytest.raises(PermissionDenied):
            Roles().require(permission, "", Peer("x", role="guest"))


@pytest.mark.parametrize("permission", ["service", "service:", "service:own", "read", "a:read b"])
def test_a_route_without_a_permission_does_not_start(permission: str) -> None:
    gate = Gate(Roles())
    method = Method("Test.Open", Empty, Empty, permission)
    with pytest.raises(ValueError, match=r"Test\.Open needs a permission"):
        gate.serve(method, lambda _request: never())
    with pytest.raises(ValueError, match=r"Test\.Open needs a permission"):
        gate.serve_stream(method, lambda _request: nothing())
    with pytest.raises(ValueError, match=r"Test\.Open needs a permission"):
        gate.endpoints.serve_notice(method, lambda _request, _peer: None)
    assert not {**gate.endpoints.calls, **gate.endpoints.streams, **gate.endpoints.notices}


async def never() -> Empty:
    return Empty()


async def nothing() -> AsyncIterator[Empty]:
    return
    yield


def test_what_is_put_straight_into_the_endpoints_is_guarded_too() -> None:
    gate = Gate(Roles())
    told: list[Peer] = []
    notice = Method("Test.Raft", Empty, Empty, "raft:peer")
    gate.endpoints.serve_notice(notice, lambda _request, peer: told.append(peer))
    guarded = gate.endpoints.notices[notice.name][1]
    for role in (AGENT, LOCAL):
        with pytest.raises(PermissionDenied):
            guarded(Empty(), Peer("x", role=role))
    guarded(Empty(), Peer("x", role=SERVER))
    assert [peer.role for peer in told] == [SERVER]


KEY = base64.b64encode(b"k" * 32).decode()


def test_over_tls_an_agent_reads_and_writes_but_is_no_server_and_no_local_agent(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_server(tmp_path, rpc_port=0, keys=(KEY,), node_id="5e-1") as rig:
            assert rig.server.tcp is not None
            identity = ClusterIdentity((KEY,), AGENT, "a9-1", "client", "dc1", SystemClock())
            agent = await dial_tcp(f"127.0.0.1:{rig.server.tcp.port}", identity)
            assert (await agent.call(CATALOG_NODES, Read(), timeout_s=5)).nodes is not None
            with pytest.raises(PermissionDenied, match="raft:peer"):
                await agent.call(FORWARD, Forwarded(method="Status.Leader", body=b"\x80"), timeout_s=5)
            with pytest.raises(PermissionDenied, match="agent:local"):
                await agent.call(MEMBERS_REPORT, MembersReport(members=()), timeout_s=5)
            with pytest.raises(PermissionDenied, match="agent:local"):
                await agent.call(KEYS_REPORT, KeysReport(keys=()), timeout_s=5)
            await agent.close()

    asyncio.run(scene())


def test_keys_the_agent_reports_are_trusted_at_once_by_the_servers_port(tmp_path: Path) -> None:
    async def scene() -> None:
        other = base64.b64encode(b"o" * 32).decode()
        async with running_server(tmp_path, rpc_port=0, keys=(KEY,), node_id="5e-1") as rig:
            assert rig.server.tcp is not None
            address = f"127.0.0.1:{rig.server.tcp.port}"
            newer = ClusterIdentity((other, KEY), AGENT, "a9-1", "client", "dc1", SystemClock())
            with pytest.raises(ChowkError, match="gossip keys differ"):
                await dial_tcp(address, newer)
            await rig.call(KEYS_REPORT, KeysReport(keys=(KEY, other)))
            connection = await dial_tcp(address, newer)
            await connection.close()

    asyncio.run(scene())
