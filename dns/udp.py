"""DNS over UDP: one socket, one protocol. Owned by the server."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from functools import partial
from typing import Any, cast

from chowk.dns.limits import Via
from chowk.dns.responder import Responder

Peer = tuple[Any, ...]

RECEIVE_BUFFER_BYTES = (
    1024 * 1024
)  # the queue of queries, kept by the kernel, which drops the newest and may allow less


class UdpListener(asyncio.DatagramProtocol):
    """Answers datagrams as they come. When the kernel takes no more replies, new ones are dropped, as UDP may."""

    def __init__(self, sock: socket.socket, responder: Responder) -> None:
        self._sock = sock
        self._responder = responder
        self._transport: asyncio.DatagramTransport | None = None
        self._full = False
        self._closed: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Begin to answer."""
        loop = asyncio.get_running_loop()
        self._closed = loop.create_future()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        await loop.create_datagram_endpoint(lambda: self, sock=self._sock)

    async def close(self) -> None:
        """Stop, and wait until the socket is closed."""
        if self._transport is None or self._closed is None:
            self._sock.close()
            return
        self._transport.close()
        await self._closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False

    def error_received(self, _exc: Exception) -> None:
        """An earlier reply could not be delivered (ICMP): the client's matter."""

    def datagram_received(self, data: bytes, addr: Peer) -> None:
        if self._full or addr[1] == 0:  # nobody can be at port 0
            return
        via = Via.UDP_LOCAL if is_loopback(addr[0]) else Via.UDP_REMOTE
        reply = self._responder.ready(data, via)
        if reply is not None:
            self._send(addr, reply)
        else:
            self._responder.handle(data, via, partial(self._send, addr))

    def _send(self, addr: Peer, reply: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing() and not self._full:
            self._transport.sendto(reply, addr)


def is_loopback(host: str) -> bool:
    """Is this peer on our own host?"""
    return host.startswith("127.") or host == "::1" or (":" in host and _is_mapped_loopback(host))


def _is_mapped_loopback(host: str) -> bool:
    mapped = ipaddress.IPv6Address(host.partition("%")[0]).ipv4_mapped
    return mapped is not None and mapped.is_loopback
