"""What people write to say whom to join, and where that is. Called by `joining`."""

from __future__ import annotations

import asyncio
import errno
import socket
from ipaddress import ip_address
from typing import Final

from chowk.agent.gossip.effects import Address
from chowk.core.addresses import joined
from chowk.core.errors import InvalidRequest

PORT: Final = 8301
"""Where gossip listens when nothing else is said."""

RESOLVED_MAX: Final = 64
"""Addresses of one name that are tried."""

RESOLVE_TIMEOUT_S: Final = 5.0


def parse_address(text: str, usual_port: int = PORT) -> Address:
    """`host`, `host:port`, `1.2.3.4:port`, `::1` or `[::1]:port`. InvalidRequest when it is none of these."""
    written = text.strip()
    host, port = written, ""
    if written.startswith("["):
        host, bracket, port = written[1:].partition("]")
        if not bracket or (port and not port.startswith(":")) or not _is_ip(host):
            raise InvalidRequest(f'"{text}" is no address: write [::1] or [::1]:{PORT}')
        port = port.removeprefix(":")
    elif written.count(":") == 1:
        host, _, port = written.partition(":")
    elif ":" in written and not _is_ip(written):
        raise InvalidRequest(f'"{text}" is no address: write host, host:{PORT} or [::1]:{PORT}')
    if not host or any(character.isspace() or character == "/" for character in host):
        raise InvalidRequest(f'"{text}" is no address: write host, host:{PORT} or [::1]:{PORT}')
    if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise InvalidRequest(f'"{text}" has a port that is none')
    return host, int(port or usual_port)


async def resolve(address: Address) -> list[Address]:
    """Every address of a name, in figures. OSError when there is none, TimeoutError when nobody says."""
    host, port = address
    if _is_ip(host):
        return [address]
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(RESOLVE_TIMEOUT_S):
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:  # an empty label, or one of more than 63 characters: no resolver is asked
            raise OSError(errno.EINVAL, "it is no name of a host") from None
    return list(dict.fromkeys((str(entry[4][0]), port) for entry in found))[:RESOLVED_MAX]


def show_address(address: Address) -> str:
    """`host:port`, `[v6]:port`."""
    return joined(*address)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
