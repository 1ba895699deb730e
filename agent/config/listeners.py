"""Where the agent listens and what it tells others: addresses, ports, networks. Called by `assemble`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from chowk.agent.config.decode import Decoded
from chowk.agent.config.host import Host
from chowk.agent.config.model import Addresses, Ports
from chowk.agent.config.problems import Problems
from chowk.agent.config.sockaddr import expand
from chowk.core.definitions import Position

LOOPBACK = "127.0.0.1"
ADDRESSES_MAX = 32
UNIX_PATH_BYTES_MAX = 107
"""What the kernel has room for in the address of a Unix socket."""
_TAGS = {
    "advertise_addr_wan": "wan",
    "advertise_addr_ipv4": "lan_ipv4",
    "advertise_addr_ipv6": "lan_ipv6",
    "advertise_addr_wan_ipv4": "wan_ipv4",
    "advertise_addr_wan_ipv6": "wan_ipv6",
}


def bind_of(whole: Decoded, host: Host, problems: Problems) -> tuple[str, str]:
    """(bind address, advertised address). Others can dial no 0.0.0.0, so then a private address of this host is told."""
    bind = _one_address(whole, "bind_addr", LOOPBACK, host, problems)
    default = bind
    if ip_address(bind).is_unspecified and not whole.get("advertise_addr"):
        try:
            default = expand("{{ GetPrivateIP }}", host)
        except ValueError as error:
            problems.add(
                whole.at("bind_addr"), f"bind_addr {bind} leaves open what to advertise: {error}; give advertise_addr"
            )
    advertise = _one_address(whole, "advertise_addr", default, host, problems)
    if whole.get("advertise_addr") and ip_address(advertise).is_unspecified:
        problems.add(whole.at("advertise_addr"), f"advertise_addr: {advertise} is no address that others could dial")
    return bind, advertise


def gossip_bind_of(whole: Decoded, host: Host, problems: Problems) -> str:
    """`serf_lan`: where gossip listens when that is not `bind_addr`; "" otherwise."""
    return _one_address(whole, "serf_lan", LOOPBACK, host, problems) if whole.get("serf_lan") else ""


def addresses_of(whole: Decoded, host: Host, problems: Problems) -> Addresses:
    """Where HTTP, HTTPS and DNS bind: `addresses{}`, else `client_addr`. HTTP may listen on Unix sockets too."""
    client = _addresses(whole, "client_addr", "client_addr", host, problems) or (LOOPBACK,)
    block: Decoded = whole.get("addresses") or Decoded(whole.position, "addresses")
    https = _addresses(block, "https", "addresses.https", host, problems) or client
    dns = _addresses(block, "dns", "addresses.dns", host, problems) or client
    sockets = _unix_paths(block, problems)
    http = _addresses(block, "http", "addresses.http", host, problems) or (() if sockets else client)
    return Addresses(http=http, http_sockets=sockets, https=https, dns=dns)


def _unix_paths(block: Decoded, problems: Problems) -> tuple[str, ...]:
    """The paths of `addresses.http` that are written `unix:///path`; they are taken out of it."""
    words = str(block.get("http", "")).split()
    paths = [word.removeprefix("unix:").removeprefix("//") for word in words if word.startswith("unix:")]
    if not paths:
        return ()
    where = block.at("http")
    block.put("http", " ".join(word for word in words if not word.startswith("unix:")), where)
    for path in paths:
        if not path.startswith("/") or "\0" in path or len(path.encode()) > UNIX_PATH_BYTES_MAX:
            problems.add(
                where,
                f'addresses.http: "unix:{path[:60]}" is no socket: write unix:///path, of {UNIX_PATH_BYTES_MAX} bytes',
            )
    return tuple(dict.fromkeys(paths))


def tagged_addresses_of(whole: Decoded, host: Host, problems: Problems) -> dict[str, str]:
    """The node's addresses by tag, beside `lan` and `wan`, which are what it advertises."""
    found: dict[str, str] = dict(whole.get("tagged_addresses", {}))
    for key, tag in _TAGS.items():
        if whole.get(key):
            found[tag] = _one_address(whole, key, "", host, problems)
    return found


def _one_address(whole: Decoded, key: str, default: str, host: Host, problems: Problems) -> str:
    found = _addresses(whole, key, key, host, problems)
    if len(found) > 1:
        problems.add(whole.at(key), f"{key}: one address, found {len(found)}")
    return found[0] if found else default


def _addresses(block: Decoded, key: str, path: str, host: Host, problems: Problems) -> tuple[str, ...]:
    text: str = block.get(key, "")
    where = block.at(key)
    try:
        text = expand(text, host)
    except ValueError as error:
        problems.add(where, f"{path}: {error}")
        return ()
    words = text.split()
    if len(words) > ADDRESSES_MAX:
        problems.add(where, f"{path}: at most {ADDRESSES_MAX} addresses")
        return ()
    found = [address for word in words if (address := _address(word, where, path, problems))]
    return tuple(dict.fromkeys(found))


def _address(word: str, where: Position, path: str, problems: Problems) -> str:
    if word.startswith("unix:"):
        problems.add(where, f"{path}: a Unix socket serves addresses.http only")
        return ""
    if word == "localhost":
        return LOOPBACK
    address = _ip(word)
    if address is None:
        problems.add(where, f'{path}: "{word[:60]}" is no IP address')
        return ""
    return str(address)


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.strip("[]"))
    except ValueError:
        return None


def ports_of(whole: Decoded, problems: Problems, *, dev: bool) -> Ports:
    """The ports; 0 is any free one. Two TCP listeners on one port, and a turned range, are problems.

    `-dev` gossips on any free port and its server has none, unless they are given: several may run on one host.
    """
    block: Decoded = whole.get("ports") or Decoded(whole.position, "ports")
    given = block.pick(**{name: name for name in Ports.__struct_fields__})
    ports = Ports(**{**({"serf_lan": 0, "server": -1} if dev else {}), **given})
    first: dict[int, str] = {}
    for name in ("dns", "http", "https", "grpc", "serf_lan", "serf_wan", "server"):
        port: int = getattr(ports, name)
        if port > 0 and port in first:
            problems.add(block.at(name), f"ports.{name}: {port} is the port of ports.{first[port]} too")
        first.setdefault(port, name)
    if not 0 < ports.sidecar_min_port <= ports.sidecar_max_port:
        problems.add(
            block.at("sidecar_min_port"), "ports: sidecar_min_port must be above 0 and not above sidecar_max_port"
        )
    return ports


def recursor_problems(recursors: tuple[str, ...], where: Position, problems: Problems) -> None:
    """Recursors are addresses, with or without a port: 1.1.1.1, 1.1.1.1:53, ::1, [::1]:53."""
    for text in recursors:
        host, colon, port = text.rpartition(":")
        with_port = bool(colon) and port.isdigit() and int(port[:6]) <= 65535 and _ip(host) is not None
        bracketed = host.startswith("[") or ":" not in host
        if _ip(text) is None and not (with_port and bracketed):
            problems.add(where, f'recursors: "{text[:60]}" is no address like 10.0.0.2 or 10.0.0.2:53')


def network_problems(networks: tuple[str, ...], where: Position, key: str, problems: Problems) -> None:
    """The list of `key` holds networks such as 10.0.0.0/8."""
    for text in networks:
        try:
            ip_network(text, strict=False)
        except ValueError:
            problems.add(where, f'{key}: "{text[:60]}" is no network like 10.0.0.0/8')
