"""What the configuration wants to know of the host: its name and its addresses. Asked by `build`, once."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address
from pathlib import Path

import msgspec

_SIOCGIFADDR = 0x8915
_ROUTES = Path("/proc/net/route")
_IPV6 = Path("/proc/net/if_inet6")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """`interfaces` are (name, address), those of the default route first, and IPv4 before IPv6 of each."""

    name: str
    interfaces: tuple[tuple[str, str], ...] = ()


def this_host() -> Host:
    """The host we run on. Addresses can be asked on Linux only; elsewhere there are none."""
    return Host(name=socket.gethostname(), interfaces=_interfaces())


def _interfaces() -> tuple[tuple[str, str], ...]:
    try:
        import fcntl
    except ImportError:
        return ()
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asker.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            found.append((name, socket.inet_ntoa(answer[20:24])))
    found += _ipv6()
    default = _default_interface()
    return tuple(sorted(found, key=lambda pair: pair[0] != default))


def _ipv6() -> list[tuple[str, str]]:
    try:
        rows = [line.split() for line in _IPV6.read_text().splitlines()]
    except OSError:
        return []
    return [(row[5], str(IPv6Address(int(row[0], 16)))) for row in rows if len(row) == 6]


def _default_interface() -> str:
    try:
        lines = _ROUTES.read_text().splitlines()[1:]
    except OSError:
        return ""
    fields = (line.split() for line in lines)
    return next((row[0] for row in fields if len(row) > 1 and row[1] == "00000000"), "")
