"""Who may reach which endpoint, before any handler runs: blocked endpoints and the networks that may write. Pure.

Called by `app` for each request, with the configuration in force.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from chowk.agent.api.errors import HttpError
from chowk.agent.config.model import HttpConfig

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def refuse(config: HttpConfig, method: str, path: str, remote: str) -> None:
    """HttpError 403 when the configuration shuts this request out. `remote` is an IP address, or "" on a Unix socket."""
    if any(path.startswith(prefix) for prefix in config.block_endpoints):
        raise HttpError(403, "Endpoint is blocked by agent configuration")
    if config.allow_write_from and method not in READS and not _contains(config.allow_write_from, remote):
        raise HttpError(403, "Access is restricted")


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
