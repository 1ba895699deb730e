"""The discovery chain of a service, from the config entries there are."""

from __future__ import annotations

import pytest

from chowk.connect.chain.compile import compile_chain
from chowk.core.chain_requests import ChainOverrides
from chowk.core.records.chain import ChainNode, ChainResolver, ChainTarget, CompiledChain
from chowk.core.records.config_entry import AnyConfigEntry, ProxyDefaults, ServiceDefaults
from chowk.core.records.service import MeshGateway

DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
SNI = f"web.default.dc1.internal.{DOMAIN}"


def chain(*entries: AnyConfigEntry, **overrides: str | float) -> CompiledChain:
    return compile_chain("web", "dc1", DOMAIN, entries, ChainOverrides(**overrides))  # type: ignore[arg-type]


def test_without_entries_it_is_the_default_resolver_over_tcp() -> None:
    name = "web.default.default.dc1"
    assert chain() == CompiledChain(
        service_name="web",
        datacenter="dc1",
        default=True,
        protocol="tcp",
        start_node=f"resolver:{name}",
        nodes={
            f"resolver:{name}": ChainNode(
                type="resolver", name=name, resolver=ChainResolver(default=True, connect_timeout_s=5.0, target=name)
            )
        },
        targets={name: ChainTarget(id=name, service="web", datacenter="dc1", sni=SNI, name=SNI)},
    )


@pytest.mark.parametrize(
    ("entries", "protocol"),
    [
        ((ServiceDefaults(name="web", protocol="http"),), "http"),
        ((ProxyDefaults(name="global", config={"protocol": "grpc"}),), "grpc"),
        (
            (ProxyDefaults(name="global", config={"protocol": "grpc"}), ServiceDefaults(name="web", protocol="http")),
            "http",
        ),
        ((ProxyDefaults(name="global", config={"protocol": 7}),), "tcp"),
        ((ServiceDefaults(name="db", protocol="http"),), "tcp"),
    ],
)
def test_the_protocol_is_the_services_else_that_of_all_proxies(
    entries: tuple[AnyConfigEntry, ...], protocol: str
) -> None:
    assert chain(*entries).protocol == protocol


def test_an_external_sni_replaces_the_sni_and_keeps_the_name() -> None:
    target = chain(ServiceDefaults(name="web", external_sni="web.example.com")).targets["web.default.default.dc1"]
    assert (target.sni, target.external, target.name) == ("web.example.com", True, SNI)


def test_gateway_modes_come_from_the_service_then_from_all_proxies() -> None:
    proxies = ProxyDefaults(name="global", mesh_gateway=MeshGateway(mode="local"))
    service = ServiceDefaults(name="web", mesh_gateway=MeshGateway(mode="remote"))
    assert [target.mesh_gateway_mode for target in chain(proxies).targets.values()] == ["local"]
    assert [target.mesh_gateway_mode for target in chain(proxies, service).targets.values()] == ["remote"]


def test_overrides_that_change_something_are_told_by_a_hash() -> None:
    changed = chain(protocol="http", connect_timeout_s=12.0, mesh_gateway_mode="remote")
    [node], [target] = changed.nodes.values(), changed.targets.values()
    assert node.resolver is not None
    assert (changed.protocol, node.resolver.connect_timeout_s, target.mesh_gateway_mode) == ("http", 12.0, "remote")
    assert len(changed.customization_hash) == 8
    hashes = {chain(protocol="http").customization_hash, chain(connect_timeout_s=12.0).customization_hash}
    assert len({*hashes, changed.customization_hash}) == 3


def test_overrides_that_change_nothing_leave_no_hash() -> None:
    same = ServiceDefaults(name="web", protocol="http")
    assert chain(same, protocol="http", connect_timeout_s=5.0) == chain(same)
