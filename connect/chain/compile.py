"""Config entries to a `CompiledChain`. Pure. Called by `server.rpc.discovery_chain`.

A service without a router, splitter or resolver has a chain of one node: the default resolver, whose target are its own
instances. Each kind of entry that shapes a chain gets its node where `_resolve` is called now: the start node is what
the outermost of them returns, and all nodes and targets are collected by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from chowk.core.chain_requests import ChainOverrides
from chowk.core.records.chain import RESOLVER, ChainNode, ChainResolver, ChainTarget, CompiledChain
from chowk.core.records.config_entry import AnyConfigEntry, ProxyDefaults, ServiceDefaults

CONNECT_TIMEOUT_S: Final = 5.0
PROTOCOL: Final = "tcp"
NONE: Final = ChainOverrides()


def compile_chain(
    service: str,
    datacenter: str,
    trust_domain: str,
    entries: Iterable[AnyConfigEntry],
    overrides: ChainOverrides = NONE,
) -> CompiledChain:
    """The chain of `service`, from the entries that concern it (others are passed over). `trust_domain` is the mesh's."""
    found = tuple(entries)
    defaults = next((each for each in found if isinstance(each, ServiceDefaults) and each.name == service), None)
    proxies = next((each for each in found if isinstance(each, ProxyDefaults)), None)
    protocol, timeout_s = _protocol(defaults, proxies), CONNECT_TIMEOUT_S
    target = _target(service, datacenter, trust_domain, defaults, proxies)
    changed = ChainOverrides(
        protocol=_unless(overrides.protocol, protocol),
        connect_timeout_s=0.0 if overrides.connect_timeout_s == timeout_s else overrides.connect_timeout_s,
        mesh_gateway_mode=_unless(overrides.mesh_gateway_mode, target.mesh_gateway_mode),
    )
    target = _target(service, datacenter, trust_domain, defaults, proxies, changed.mesh_gateway_mode)
    start = _resolve(target, changed.connect_timeout_s or timeout_s)
    return CompiledChain(
        service_name=service,
        datacenter=datacenter,
        customization_hash=_hash(changed),
        default=start.resolver is not None and start.resolver.default,
        protocol=changed.protocol or protocol,
        service_meta=defaults.meta if defaults is not None else {},
        start_node=f"{start.type}:{start.name}",
        nodes={f"{start.type}:{start.name}": start},
        targets={target.id: target},
    )


def _resolve(target: ChainTarget, connect_timeout_s: float) -> ChainNode:
    """The default resolver: all instances of the target."""
    resolver = ChainResolver(default=True, connect_timeout_s=connect_timeout_s, target=target.id)
    return ChainNode(type=RESOLVER, name=target.id, resolver=resolver)


def _target(
    service: str,
    datacenter: str,
    trust_domain: str,
    defaults: ServiceDefaults | None,
    proxies: ProxyDefaults | None,
    mesh_gateway_mode: str = "",
) -> ChainTarget:
    """The service's instances in `datacenter`. Names are Consul's: `<service>.<namespace>.<partition>.<dc>`."""
    sni = f"{service}.default.{datacenter}.internal.{trust_domain}"
    external = defaults.external_sni if defaults is not None else ""
    configured = (defaults.mesh_gateway.mode if defaults is not None else "") or (
        proxies.mesh_gateway.mode if proxies is not None else ""
    )
    return ChainTarget(
        id=f"{service}.default.default.{datacenter}",
        service=service,
        datacenter=datacenter,
        mesh_gateway_mode=mesh_gateway_mode or configured,
        external=bool(external),
        sni=external or sni,
        name=sni,
    )


def _protocol(defaults: ServiceDefaults | None, proxies: ProxyDefaults | None) -> str:
    configured = proxies.config.get("protocol", "") if proxies is not None else ""
    return (defaults.protocol if defaults is not None else "") or (
        configured if isinstance(configured, str) and configured else PROTOCOL
    )


def _unless(wanted: str, same: str) -> str:
    return "" if wanted == same else wanted


def _hash(changed: ChainOverrides) -> str:
    """8 hexadecimal digits of the overrides that made a difference, "" when none did."""
    if changed == NONE:
        return ""
    text = f"{changed.protocol}\0{changed.connect_timeout_s!r}\0{changed.mesh_gateway_mode}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]
