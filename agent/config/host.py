"""What the configuration wants to know of the host: its name and its addresses. Asked by `build`, once."""

from __future__ import annotations

import re
import socket
import struct
from ipaddress import ip_address
from pathlib import Path

import msgspec

_SIOCGIFADDR = 0x8915
_ROUTES = Path("/proc/net/route")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """`interfaces` are (name, IPv4 address), the one of the default route first."""

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
    default = _default_interface()
    return tuple(sorted(found, key=lambda pair: pair[0] != default))


def _default_interface() -> str:
    try:
        lines = _ROUTES.read_text().splitlines()[1:]
    except OSError:
        return ""
    fields = (line.split() for line in lines)
    return next((row[0] for row in fields if len(row) > 1 and row[1] == "00000000"), "")


_TEMPLATE = re.compile(r"\{\{\s*(\w+)(?:\s+\"([^\"]*)\")?\s*\}\}")


def expand(text: str, host: Host) -> str:
    """The addresses of a go-sockaddr template such as `{{ GetPrivateIP }}` or `{{ GetInterfaceIP "eth0" }}`.

    Text without `{{` is returned as it is. ValueError says in words why there is no address.
    """
    if "{{" not in text:
        return text
    template = _TEMPLATE.fullmatch(text.strip())
    if template is None:
        raise ValueError(
            f'the template "{text}" is not known; use {{{{ GetPrivateIP }}}} or {{{{ GetInterfaceIP "eth0" }}}}'
        )
    function, name = template[1], template[2]
    addresses = [(interface, ip_address(address)) for interface, address in host.interfaces]
    match function:
        case "GetPrivateIP":
            found = [str(ip) for _, ip in addresses if ip.is_private and not ip.is_loopback and not ip.is_link_local]
        case "GetPublicIP":
            found = [str(ip) for _, ip in addresses if ip.is_global]
        case "GetInterfaceIP" if name:
            found = [str(ip) for interface, ip in addresses if interface == name]
        case _:
            raise ValueError(
                f'the template function "{function}" is not known; use GetPrivateIP, GetPublicIP or GetInterfaceIP "eth0"'
            )
    if not found:
        known = ", ".join(f"{interface} {ip}" for interface, ip in addresses) or "none"
        raise ValueError(f"no address for {text.strip()}; this host has {known}")
    return found[0]
