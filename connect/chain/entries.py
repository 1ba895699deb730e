"""The config entries that a chain is compiled from, found by kind and name. Pure; made by whoever compiles chains.

An index is made once for a set of entries and asked for many services.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chowk.core.durations import parse_duration
from chowk.core.records.bypass import ServiceBypass
from chowk.core.records.config_entry import AnyConfigEntry, ProxyDefaults, ServiceDefaults
from chowk.core.records.mesh import Mesh
from chowk.core.records.resolver import ServiceResolver
from chowk.core.records.router import ServiceRouter
from chowk.core.records.splitter import ServiceSplitter

KINDS: Final = (
    ServiceDefaults.kind,
    ProxyDefaults.kind,
    ServiceResolver.kind,
    ServiceRouter.kind,
    ServiceSplitter.kind,
    Mesh.kind,
    ServiceBypass.kind,
)
"""The kinds that shape what proxies do."""
PROTOCOL: Final = "tcp"
L7_PROTOCOLS: Final = frozenset({"http", "http2", "grpc"})


class ChainEntries:
    """Entries of other kinds are passed over."""

    def __init__(self, entries: Iterable[AnyConfigEntry]) -> None:
        self.defaults: dict[str, ServiceDefaults] = {}
        self.resolvers: dict[str, ServiceResolver] = {}
        self.routers: dict[str, ServiceRouter] = {}
        self.splitters: dict[str, ServiceSplitter] = {}
        self.proxies = ProxyDefaults()
        self.mesh = Mesh()
        self.bypasses: dict[str, ServiceBypass] = {}
        for entry in entries:
            match entry:
                case ServiceDefaults():
                    self.defaults[entry.name] = entry
                case ServiceResolver():
                    self.resolvers[entry.name] = entry
                case ServiceRouter():
                    self.routers[entry.name] = entry
                case ServiceSplitter():
                    self.splitters[entry.name] = entry
                case ProxyDefaults():
                    self.proxies = entry
                case ServiceBypass():
                    self.bypasses[entry.name] = entry
                case Mesh():
                    self.mesh = entry
                case _:
                    continue

    def protocol(self, service: str) -> str:
        """What the service speaks: its own setting, else that of all proxies, else tcp."""
        own = self.defaults.get(service)
        configured = self.proxies.config.get("protocol", "")
        everyones = configured if isinstance(configured, str) else ""
        return (own.protocol if own is not None else "") or everyones or PROTOCOL

    def gateway_mode(self, service: str) -> str:
        """Which gateways it is reached through from other datacenters."""
        own = self.defaults.get(service)
        return (own.mesh_gateway.mode if own is not None else "") or self.proxies.mesh_gateway.mode


def seconds(text: str) -> float:
    """A duration of an entry, which was checked when it was written; 0 where none is set."""
    try:
        return max(0.0, parse_duration(text)) if text else 0.0
    except ValueError:
        return 0.0
