"""The templates that stand for addresses of this host: `{{ GetPrivateIP }}`, `{{ GetAllInterfaces | include "name" "eth0"
| attr "address" }}`. Their functions are go-sockaddr's. Called by `listeners`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from chowk.agent.config.host import Host

Found = list[tuple[str, IPv4Address | IPv6Address]]
"""(interface, address), in the host's order: the interface of the default route first."""

_TEMPLATE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_WORDS = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`|([^\s"`|]+)|(\|)')
PARTS_MAX = 16
KNOWN = 'GetPrivateIP, GetInterfaceIP "eth0", or GetAllInterfaces | include "network" "10.0.0.0/8" | attr "address"'


def expand(text: str, host: Host) -> str:
    """`text` with the addresses of its templates, apart by blanks. ValueError says in words why there is none."""
    if "{{" not in text:
        return text
    expanded = _TEMPLATE.sub(lambda template: _value(template[1], template[0], host), text)
    if "{{" in expanded:
        raise ValueError(f'the template "{text}" does not end: write {{{{ GetPrivateIP }}}}')
    return expanded


def _value(inside: str, whole: str, host: Host) -> str:
    words = [(quoted or raw or bare, bar) for quoted, raw, bare, bar in _WORDS.findall(inside)]
    calls: list[list[str]] = [[]]
    for word, bar in words:
        if bar:
            calls.append([])
        else:
            calls[-1].append(word)
    if len(calls) > PARTS_MAX or not all(calls):
        raise ValueError(f'the template "{whole}" is not known; use {{{{ {KNOWN} }}}}')
    everything: Found = [(interface, ip_address(address)) for interface, address in host.interfaces]
    value: Found | str = _source(calls[0], everything)
    for call in calls[1:]:
        if isinstance(value, str):
            raise ValueError(f'{call[0]}: nothing can follow an address in "{whole}"')  # noqa: TRY004
        value = _filter(call, value)
    if not isinstance(value, str):
        raise ValueError(f'the template "{whole}" ends in interfaces; add | attr "address"')  # noqa: TRY004
    if not value:
        known = ", ".join(f"{interface} {ip}" for interface, ip in everything) or "none"
        raise ValueError(f"no address for {whole.strip()}; this host has {known}")
    return value


def _source(call: list[str], everything: Found) -> Found | str:
    """What the first function gives: interfaces, or (GetPrivateIP and its like) the text of addresses."""
    private = [pair for pair in everything if _is_private(pair[1])]
    public = [pair for pair in everything if pair[1].is_global]
    match call:
        case ["GetAllInterfaces"]:
            return everything
        case ["GetDefaultInterfaces"]:
            return [pair for pair in everything if pair[0] == everything[0][0]]
        case ["GetPrivateInterfaces"]:
            return private
        case ["GetPublicInterfaces"]:
            return public
        case ["GetPrivateIP" | "GetPublicIP" as name]:
            return _first([pair for pair in (private if name == "GetPrivateIP" else public) if pair[1].version == 4])
        case ["GetPrivateIPs"]:
            return _all(private, " ")
        case ["GetPublicIPs"]:
            return _all(public, " ")
        case ["GetInterfaceIP" | "GetInterfaceIPs" as name, pattern]:
            found = _include("name", f"^{pattern}$", everything)
            return _first(found) if name == "GetInterfaceIP" else _all(found, " ")
        case _:
            raise ValueError(f'the template function "{call[0]}" is not known; use {KNOWN}')


def _filter(call: list[str], found: Found) -> Found | str:
    match call:
        case ["include" | "exclude" as name, selector, pattern]:
            included = _include(selector, pattern, found)
            return included if name == "include" else [pair for pair in found if pair not in included]
        case ["sort", order]:
            return sorted(found, key=_ORDERS.get(order.lstrip("+-"), _ORDERS["address"]), reverse=order.startswith("-"))
        case ["unique", _]:
            return list(dict.fromkeys(found))
        case ["limit", number] if number.isdigit():
            return found[: int(number)]
        case ["offset", number] if number.isdigit():
            return found[int(number) :]
        case ["attr", "address"]:
            return _first(found)
        case ["attr", "name"]:
            return found[0][0] if found else ""
        case ["join", "address", separator]:
            return _all(found, separator)
        case _:
            raise ValueError(f'the template function "{" ".join(call)}" is not known; use {KNOWN}')


def _include(selector: str, pattern: str, found: Found) -> Found:
    try:
        match selector:
            case "name":
                return [pair for pair in found if re.search(pattern, pair[0])]
            case "address":
                return [pair for pair in found if re.search(pattern, str(pair[1]))]
            case "network":
                return [pair for pair in found if pair[1] in ip_network(pattern, strict=False)]
            case "type" if pattern.lower() in ("ip", "ipv4", "ipv6"):
                return [pair for pair in found if pattern.lower() in ("ip", f"ipv{pair[1].version}")]
            case "rfc" if pattern in ("1918", "6890"):
                return [pair for pair in found if _is_private(pair[1])]
            case "flag" | "flags" if all(flag in _FLAGS for flag in pattern.split("|")):
                return [pair for pair in found if all(_FLAGS[flag](pair[1]) for flag in pattern.split("|"))]
    except (re.error, ValueError) as error:
        raise ValueError(f'include "{selector}" "{pattern[:60]}": {error}') from None
    raise ValueError(f'include "{selector}" "{pattern[:60]}" is not known; use "name", "network", "type" or "flag"')


def _is_private(ip: IPv4Address | IPv6Address) -> bool:
    return ip.is_private and not ip.is_loopback and not ip.is_link_local


_FLAGS: dict[str, Callable[[IPv4Address | IPv6Address], bool]] = {
    "up": lambda _: True,
    "forwardable": lambda ip: not (ip.is_loopback or ip.is_link_local or ip.is_multicast),
    "global": lambda ip: ip.is_global or _is_private(ip),
    "loopback": lambda ip: ip.is_loopback,
    "link-local unicast": lambda ip: ip.is_link_local,
}
_ORDERS: dict[str, Callable[[tuple[str, IPv4Address | IPv6Address]], tuple[object, ...]]] = {
    "address": lambda pair: (pair[1].version, int(pair[1])),
    "name": lambda pair: (pair[0],),
    "type": lambda pair: (pair[1].version,),
    "private": lambda pair: (not _is_private(pair[1]),),
    "default": lambda _: (),
}


def _first(found: Found) -> str:
    return str(found[0][1]) if found else ""


def _all(found: Found, separator: str) -> str:
    return separator.join(str(ip) for _, ip in found)
