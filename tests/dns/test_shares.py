"""Shares of a server's sockets: left to another server, which adopts them, and taken back when it is gone."""

from __future__ import annotations

import asyncio
import os
import random
import socket

import pytest
import uvloop

from chowk.core.runtime.clock import SystemClock
from chowk.core.runtime.sockets import PortTaken
from chowk.dns.server import DnsServer
from chowk.dns.settings import DnsSettings
from chowk.dns.sockets import adopt_sockets, bind_sockets
from support.dns_lookup import FakeLookup, instance
from support.dns_wire import ask_tcp, ask_udp, data, packet

ASKED = 24


def server_of(address_count: int) -> DnsServer:
    """One whose `web` has so many instances, to be told from others."""
    lookup = FakeLookup()
    lookup.services["web"] = tuple(instance("web", number) for number in range(address_count))
    return DnsServer(lookup, DnsSettings(), "agent1", "dc1", SystemClock(), random.Random(1))


async def answered_by(port: int) -> set[int]:
    """How many addresses the answers have, of many clients over UDP; and over TCP."""
    question = packet("web.service.consul", edns=4096)
    found = {len(data((await ask_udp("127.0.0.1", port, question))[0])) for _ in range(ASKED)}
    return found | {len(data((await ask_tcp("127.0.0.1", port, question))[0]))}


def test_shares_are_left_to_others_and_taken_back() -> None:
    async def scenario() -> None:
        owner, worker = server_of(2), server_of(5)
        await owner.start(("127.0.0.1",), 0, shares=2)
        given = owner.sockets
        try:
            assert await answered_by(owner.port) == {2}
            udp = tuple(os.dup(share[0].fileno()) for share in given.udp)
            await worker.listen(adopt_sockets(udp, (os.dup(given.tcp[0].fileno()),)))
            for share in range(2):
                owner.leave(share)
            assert await answered_by(owner.port) == {5}
            await worker.close()
            await owner.take(0)
            await owner.take(1)
            assert await answered_by(owner.port) == {2}
        finally:
            await owner.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 30))


def test_what_came_while_nobody_read_is_answered_by_who_takes_the_share() -> None:
    async def scenario() -> None:
        owner = server_of(2)
        await owner.start(("127.0.0.1",), 0)
        try:
            owner.leave(0)
            asking = asyncio.ensure_future(ask_udp("127.0.0.1", owner.port, packet("web.service.consul")))
            with socket.create_connection(("127.0.0.1", owner.port)):  # waits in the kernel, too
                await owner.take(0)
                assert len(data((await asking)[0])) == 2
        finally:
            await owner.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 30))


def test_a_port_whose_shares_are_read_by_several_is_taken_for_everybody_else() -> None:
    sockets = bind_sockets(("127.0.0.1",), 0, shares=3)
    try:
        for shares in (1, 3):
            with pytest.raises(PortTaken):
                bind_sockets(("127.0.0.1",), sockets.port, shares)
    finally:
        sockets.close()
