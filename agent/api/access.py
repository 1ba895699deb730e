"""Who may reach which endpoint, before any handler runs: blocked endpoints, networks that may write, foreign pages. Pure.

Called by `app` for each request, with the configuration in force.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from chowk.agent.api.errors import HttpError
from chowk.agent.config.model import HttpConfig

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def refuse(config: HttpConfig, method: str, path: str, remote: str) -> None:
    """HttpError 403 when the configuration shuts this request out. `remote` is an IP address, or "" on a Unix socket."""
    if any(path.startswith(prefix) for prefix in config.block_endpoints):
        raise HttpError(403, "Endpoint is blocked by agent configuration")
    if config.allow_write_from and method not in READS and not _contains(config.allow_write_from, remote):
        raise HttpError(403, "Access is restricted")


def refuse_unprintable(path: str) -> None:
    """HttpError 400 for a path with control or other characters that nobody sees: they would deceive who reads names and
    logs. Bytes that are no UTF-8 are seen, as U+FFFD. As Consul's, without its switch."""
    if not path.encode("utf-8", "surrogateescape").decode("utf-8", "replace").isprintable():
        raise HttpError(400, "Invalid URL path: it contains unprintable characters")


def refuse_foreign_page(method: str, origin: str, host: str) -> None:
    """HttpError 403 for a write that a page of another site made a browser send: it names that site in `Origin`.

    Clients that are no browsers send no Origin. A page may write only when it was served by this very address, and that
    address is an IP, `localhost` or a bare name: a public name that was made to resolve to this host (DNS rebinding) is not.
    """
    if not origin or method in READS:
        return
    if not _is_ours(origin, host):
        raise HttpError(403, f"a page of {origin} may not change anything here (cross-origin request)")


def refuse_foreign_name(host: str, listener: str, names: Iterable[str]) -> None:
    """HttpError 403 for a request that came to a loopback address under a name that is not this agent's.

    A page whose own name was made to resolve to 127.0.0.1 (DNS rebinding) would be of one origin with the API, and read it.
    The browser tells on it: its `Host` is that name. `listener` is the address that was reached, "" where there is none;
    `names` are ours, with all below them.
    """
    if not host or is_plain(host) or not _is_loopback(listener):
        return
    name = _name_of(host)
    if not any(name == ours or name.endswith(f".{ours}") for ours in map(str.lower, names) if ours):
        raise HttpError(
            403,
            f'"{name[:253]}" is no name of this agent (a foreign page could reach it so, by DNS rebinding); '
            "add it to http_config.allow_hosts to allow it",
        )


@lru_cache(maxsize=1024)
def is_plain(host: str) -> bool:
    """Whether a `Host` is an address, `localhost` or another bare name: none that a foreign page could have."""
    name = _name_of(host)
    return bool(name) and ("." not in name or name.endswith(".localhost") or _is_address(name))


def _name_of(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_loopback(listener: str) -> bool:
    try:
        address = ip_address(listener.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _is_ours(origin: str, host: str) -> bool:
    try:
        page, name = urlsplit(origin).netloc, urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return bool(name) and page == host and ("." not in str(name) or _is_address(str(name)))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _contains(networks: tuple[str, ...], remote: str) -> bool:
    try:
        address = ip_address(remote.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in _parse(networks))


@lru_cache(maxsize=8)
def _parse(networks: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text, strict=False) for text in networks)
