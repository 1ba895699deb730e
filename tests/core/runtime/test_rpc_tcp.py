"""RPC over real TCP sockets: who gets in, who does not and is told why, and what a stranger can cost."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from chowk.core import errors
from chowk.core.requests import Message, Method
from chowk.core.runtime.clock import ManualClock, SystemClock
from chowk.core.runtime.rpc import reasons
from chowk.core.runtime.rpc.endpoints import AGENT, SERVER, Endpoints, Peer
from chowk.core.runtime.rpc.identity import ClusterIdentity
from chowk.core.runtime.rpc.tcp import TcpListener, dial_tcp
from chowk.core.runtime.rpc.trust import LIFE_S

KEY = base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()


class Text(Message, frozen=True, kw_only=True):
    value: str


WHO = Method("Test.Who", Text, Text, "")
TELL = Method("Test.Tell", Text, Text, "")


def member(*keys: str, role: str = SERVER, node: str = "n1", datacenter: str = "dc1") -> ClusterIdentity:
    return ClusterIdentity(keys, role, "7f1e-" + node, node, datacenter, SystemClock())


class Hub:
    """A listener whose one call says who called, and which keeps the notices it got."""

    def __init__(self, identity: ClusterIdentity | None = None) -> None:
        self.told: list[tuple[str, str]] = []
        self.endpoints = Endpoints()
        self.endpoints.serve(WHO, self._who)
        self.endpoints.serve_notice(TELL, lambda text, peer: self.told.append((peer.node, text.value)))
        self.listener = TcpListener("127.0.0.1", 0, self.endpoints, identity)

    async def _who(self, request: Text, peer: Peer) -> Text:
        return Text(value=f"{request.value} {peer.role} {peer.node} {peer.node_id}")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.port}"


def with_hub(identity: ClusterIdentity | None, scene: Callable[[Hub], Awaitable[None]]) -> None:
    async def main() -> None:
        hub = Hub(identity)
        await hub.listener.start()
        try:
            async with asyncio.timeout(20):
                await scene(hub)
        finally:
            await hub.listener.close()

    uvloop.run(main())


@pytest.mark.parametrize("role", [SERVER, AGENT])
def test_a_holder_of_the_key_is_known_by_its_role_and_name(role: str) -> None:
    async def scene(hub: Hub) -> None:
        connection = await dial_tcp(hub.address, member(KEY, role=role, node="n2"))
        reply = await connection.call(WHO, Text(value="I am"), timeout_s=5)
        assert reply.value == f"I am {role} n2 7f1e-n2"
        assert (connection.peer.role, connection.peer.node) == (SERVER, "n1")
        await connection.close()

    with_hub(member(KEY), scene)


def test_a_plain_cluster_works_and_everybody_is_a_server() -> None:
    async def scene(hub: Hub) -> None:
        connection = await dial_tcp(hub.address)
        assert (await connection.call(WHO, Text(value="x"), timeout_s=5)).value.startswith("x server")
        await connection.close()

    with_hub(None, scene)


def test_notices_arrive_in_order() -> None:
    async def scene(hub: Hub) -> None:
        connection = await dial_tcp(hub.address, member(KEY, node="n2"))
        for number in range(100):
            assert connection.notify(TELL, Text(value=str(number)))
        await connection.call(WHO, Text(value="x"), timeout_s=5)
        assert hub.told == [("n2", str(number)) for number in range(100)]
        await connection.close()
        assert not connection.notify(TELL, Text(value="late"))

    with_hub(member(KEY), scene)


def test_other_keys_are_refused_and_both_ends_say_so() -> None:
    async def scene(hub: Hub) -> None:
        with pytest.raises(errors.PermissionDenied, match="the gossip keys differ"):
            await dial_tcp(hub.address, member(OTHER))
        with pytest.raises(errors.ChowkError, match="the gossip keys differ"):
            await dial_tcp(hub.address, member(OTHER, KEY))
        assert hub.listener.refusals.counts

    with_hub(member(KEY), scene)


def test_plain_at_an_encrypted_server_is_told_to_set_encrypt() -> None:
    async def scene(hub: Hub) -> None:
        with pytest.raises(errors.PermissionDenied, match="the server wants encryption: set `encrypt`"):
            await dial_tcp(hub.address)
        assert hub.listener.refusals.counts == {reasons.NOT_ENCRYPTED: 1}

    with_hub(member(KEY), scene)


def test_encrypted_at_a_plain_server_is_never_silently_plain() -> None:
    async def scene(hub: Hub) -> None:
        with pytest.raises(errors.PermissionDenied, match="the server is not encrypted"):
            await dial_tcp(hub.address, member(KEY))
        assert hub.listener.refusals.counts == {reasons.UNEXPECTED_ENCRYPTION: 1}

    with_hub(None, scene)


def test_a_certificate_that_no_handshake_has_asked_for_in_a_while_is_renewed_before_its_end_is_told() -> None:
    clock = ManualClock()
    identity = ClusterIdentity((KEY,), SERVER, "7f1e-n1", "n1", "dc1", clock)
    assert identity.ends_at_s is None, "none was needed yet"
    identity.server_context()
    assert identity.ends_at_s == pytest.approx(clock.wall() + LIFE_S)
    for passed_s in (LIFE_S / 4, 400 * LIFE_S):
        asyncio.run(clock.advance(passed_s))
        assert identity.ends_at_s is not None
        assert identity.ends_at_s - clock.wall() >= LIFE_S / 2
