"""The sockets of DNS: bound all or none, in shares that other processes can read. Used by `server`, and by DNS workers."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chowk.core.runtime.sockets import bind_tcp, bind_udp, share_udp

_PURPOSE: Final = "DNS"
_PORT_TRIES: Final = 20


@dataclass(frozen=True)
class DnsSockets:
    """`udp` are the shares, each with one socket an address: the kernel gives a sender to one of them, always the same. A
    `tcp` socket is for all, since whoever is free accepts.
    """

    udp: tuple[tuple[socket.socket, ...], ...]
    tcp: tuple[socket.socket, ...]

    @property
    def port(self) -> int:
        """The port, of all of them."""
        return int(self.tcp[0].getsockname()[1]) if self.tcp else 0

    def close(self) -> None:
        """Close all; those that other processes have are theirs."""
        for sock in (*self.tcp, *(sock for share in self.udp for sock in share)):
            sock.close()


def bind_sockets(addresses: Sequence[str], port: int, shares: int = 1) -> DnsSockets:
    """At each address and `port` (0: a free one). PortTaken or OSError when one cannot be bound; then none is."""
    tcp: list[socket.socket] = []
    udp: list[list[socket.socket]] = [[] for _ in range(shares)]
    try:
        for address in addresses:
            first, listening = _bind_pair(address, port)
            udp[0].append(first)
            tcp.append(listening)
            port = listening.getsockname()[1]
            for share in udp[1:]:
                share.append(share_udp(first, _PURPOSE))
    except OSError:
        for sock in (*tcp, *(sock for share in udp for sock in share)):
            sock.close()
        raise
    return DnsSockets(tuple(tuple(share) for share in udp), tuple(tcp))


def adopt_sockets(udp: Sequence[int], tcp: Sequence[int]) -> DnsSockets:
    """One share, from the file descriptors that another process gave to this one."""
    return DnsSockets((tuple(map(_adopted, udp)),), tuple(map(_adopted, tcp)))


def _adopted(number: int) -> socket.socket:
    sock = socket.socket(fileno=number)
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock


def _bind_pair(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on the same port; for port 0, one that is free for both."""
    for attempt in range(_PORT_TRIES):
        udp = bind_udp(address, port, _PURPOSE)
        try:
            return udp, bind_tcp(address, udp.getsockname()[1], _PURPOSE)
        except OSError:
            udp.close()
            if port != 0 or attempt == _PORT_TRIES - 1:
                raise
    raise OSError("DNS: no port is free for both UDP and TCP")
