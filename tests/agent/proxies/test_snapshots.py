"""What a sidecar is told follows from its registration and the registry, and from nothing else."""

from __future__ import annotations

from typing import Any

from chowk.agent.proxies.snapshots import MeshFacts, build_snapshot, dialable
from chowk.core.records.ca import CARoots
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import ServiceDefaults
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.service import ConnectProxy, NodeService, Upstream, Weights

HOST = Node(node="host1", address="127.0.0.1")


def sidecar(**proxy: Any) -> NodeService:
    settings = ConnectProxy(destination_service_name="web", **proxy)
    return NodeService(
        kind="connect-proxy", id="web-sidecar-proxy", service="web-sidecar-proxy", port=21000, proxy=settings
    )


def instance(service_id: str, status: str = "passing", **service: Any) -> ServiceInstance:
    record = NodeService(id=service_id, service="api-sidecar-proxy", **{"port": 21001, **service})
    check = HealthCheck(node="host1", check_id=f"check:{service_id}", status=status)
    return ServiceInstance(node=HOST, service=record, checks=(check,))


def facts(**changes: Any) -> MeshFacts:
    values: dict[str, Any] = {
        "roots": CARoots(trust_domain="t.consul"), "intentions": (), "instances": {}, "defaults": {}, "default_allow": True,
    }  # fmt: skip
    return MeshFacts(**{**values, **changes})


def test_only_healthy_instances_may_be_dialled_each_with_its_weight() -> None:
    weights = Weights(passing=5, warning=2)
    rows = [
        instance("b", weights=weights), instance("a", "warning", weights=weights), instance("c", "critical"),
        instance("d", port=0),
    ]  # fmt: skip
    assert [(endpoint.key, endpoint.weight) for endpoint in dialable(rows)] == [("host1/a", 2), ("host1/b", 5)]


def test_an_instance_in_maintenance_is_not_dialled() -> None:
    check = HealthCheck(node="host1", check_id="_node_maintenance", status="critical")
    assert dialable([ServiceInstance(node=HOST, service=instance("a").service, checks=(check,))]) == ()


def test_an_upstream_expects_the_identity_of_its_service_alone() -> None:
    proxy = sidecar(local_service_port=80, upstreams=(Upstream(destination_name="api", local_bind_port=9001),))
    snapshot = build_snapshot(proxy, HOST, facts(instances={"api": (instance("a"),)}), 7)
    upstream = snapshot.upstreams[0]
    assert upstream.spiffe_id == "spiffe://t.consul/ns/default/dc/dc1/svc/api"
    assert (upstream.bind_address, upstream.bind_port, upstream.endpoints[0].port) == ("127.0.0.1", 9001, 21001)
    assert (snapshot.version, snapshot.service, snapshot.proxy_id) == (7, "web", "web-sidecar-proxy")


def test_an_upstream_of_another_datacenter_has_no_local_endpoints() -> None:
    proxy = sidecar(upstreams=(Upstream(destination_name="api", datacenter="dc2", local_bind_port=9001),))
    upstream = build_snapshot(proxy, HOST, facts(instances={"api": (instance("a"),)}), 1).upstreams[0]
    assert (upstream.endpoints, upstream.datacenter) == ((), "dc2")


def test_a_proxy_without_an_application_has_no_public_listener() -> None:
    assert build_snapshot(sidecar(), HOST, facts(), 1).inbound is None


def test_service_defaults_and_then_the_proxy_itself_set_limits_and_protocol() -> None:
    defaults = {
        "web": ServiceDefaults(name="web", protocol="http", max_inbound_connections=9, local_connect_timeout_ms=250)
    }
    inbound = build_snapshot(sidecar(local_service_port=80), HOST, facts(defaults=defaults), 1).inbound
    assert inbound is not None
    assert (inbound.protocol, inbound.connections_max, inbound.connect_timeout_s) == ("http", 9, 0.25)
    config = {"protocol": "tcp", "max_inbound_connections": 3, "local_connect_timeout_ms": "1000"}
    own = build_snapshot(sidecar(local_service_port=80, config=config), HOST, facts(defaults=defaults), 1).inbound
    assert own is not None
    assert (own.protocol, own.connections_max, own.connect_timeout_s) == ("tcp", 3, 1.0)


def test_nonsense_in_opaque_proxy_config_counts_as_not_set() -> None:
    config = {"local_connect_timeout_ms": "soon", "max_inbound_connections": True, "protocol": 5}
    inbound = build_snapshot(sidecar(local_service_port=80, config=config), HOST, facts(), 1).inbound
    assert inbound is not None
    assert (inbound.protocol, inbound.connections_max, inbound.connect_timeout_s) == ("tcp", 0, 5.0)
