"""What a sidecar is told follows from its registration and the registry, and from nothing else."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from chowk.agent.proxies.snapshots import MeshFacts, build_snapshot, dialable, trusted_alone
from chowk.connect.chain.compile import compile_chain
from chowk.connect.chain.entries import ChainEntries
from chowk.connect.snapshot import Endpoint
from chowk.core.records.ca import CARoot, CARoots
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import AnyConfigEntry, ServiceDefaults
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.service import ConnectProxy, NodeService, Upstream, Weights
from chowk.core.records.traffic import InstanceRate, RateLimits

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


def facts(*entries: AnyConfigEntry, endpoints: dict[str, tuple[Endpoint, ...]] | None = None) -> MeshFacts:
    index = ChainEntries(entries)
    chains = {
        (name, datacenter): compile_chain(name, datacenter, "t.consul", index)
        for name in ("api", "db")
        for datacenter in ("dc1", "dc2")
    }
    return MeshFacts(
        roots=CARoots(trust_domain="t.consul"), intentions=(), entries=index, chains=chains, endpoints=endpoints or {},
        default_allow=True,
    )  # fmt: skip


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


API = "api.default.default.dc1"


def test_an_upstream_expects_the_identity_of_its_service_alone() -> None:
    proxy = sidecar(local_service_port=80, upstreams=(Upstream(destination_name="api", local_bind_port=9001),))
    snapshot = build_snapshot(proxy, HOST, facts(endpoints={API: dialable([instance("a")])}), 7)
    upstream = snapshot.upstreams[0]
    assert snapshot.targets[API].spiffe_id == "spiffe://t.consul/ns/default/dc/dc1/svc/api"
    assert snapshot.targets[API].endpoints[0].port == 21001
    assert (upstream.bind_address, upstream.bind_port) == ("127.0.0.1", 9001)
    assert upstream.clusters[upstream.routes[-1].splits[0].cluster].targets == (API,)
    assert (snapshot.version, snapshot.service, snapshot.proxy_id) == (7, "web", "web-sidecar-proxy")


def test_an_upstream_of_another_datacenter_has_no_local_endpoints() -> None:
    proxy = sidecar(upstreams=(Upstream(destination_name="api", datacenter="dc2", local_bind_port=9001),))
    snapshot = build_snapshot(proxy, HOST, facts(endpoints={API: dialable([instance("a")])}), 1)
    assert snapshot.upstreams[0].datacenter == "dc2"
    assert snapshot.targets["api.default.default.dc2"].endpoints == ()


def test_roots_change_for_a_proxy_only_when_trust_does() -> None:
    root = CARoot(
        id="r", name="r", serial_number=1, signing_key_id="k1", external_trust_domain="", not_before="", not_after="",
        root_cert_pem="pem", intermediate_certs=("one",), modify_index=5,
    )  # fmt: skip
    other_leader = replace(root, signing_key_id="k2", intermediate_certs=("two",), modify_index=9)
    before, after = CARoots(trust_domain="t", roots=(root,)), CARoots(trust_domain="t", roots=(other_leader,))
    assert trusted_alone(before) == trusted_alone(after)


def test_how_an_upstream_is_dialled_comes_from_the_callers_defaults_then_from_its_own_block() -> None:
    defaults = ServiceDefaults(
        name="web",
        upstream_config={
            "Defaults": {"ConnectTimeoutMs": 100, "Limits": {"MaxConnections": 9}},
            "Overrides": [
                {
                    "Name": "api",
                    "ConnectTimeoutMs": 200,
                    "PassiveHealthCheck": {"Interval": 3_000_000_000, "MaxFailures": 2},
                },
                {"Name": "db", "ConnectTimeoutMs": 300},
            ],
        },
    )
    upstream = Upstream(destination_name="api", config={"connect_timeout_ms": 400})
    found = build_snapshot(sidecar(upstreams=(upstream,)), HOST, facts(defaults), 1).upstreams[0].clusters[API]
    assert (found.connect_timeout_s, found.limits.connections_max) == (0.4, 9)
    assert (found.outlier.interval_s, found.outlier.max_failures) == (3.0, 2)
    plain = Upstream(destination_name="db")
    clusters = build_snapshot(sidecar(upstreams=(plain,)), HOST, facts(defaults), 1).upstreams[0].clusters
    assert clusters["db.default.default.dc1"].connect_timeout_s == 0.3


def test_a_service_that_only_watches_is_told_so_with_its_limits() -> None:
    limits = RateLimits(instance_level=InstanceRate(requests_per_second=5))
    defaults = ServiceDefaults(
        name="web", intention_mode="permissive", rate_limits=limits, local_request_timeout_ms=1500
    )
    inbound = build_snapshot(sidecar(local_service_port=80), HOST, facts(defaults), 1).inbound
    assert inbound is not None
    assert (inbound.permissive, inbound.rate_limits, inbound.request_timeout_s) == (True, limits, 1.5)


def test_a_proxy_without_an_application_has_no_public_listener() -> None:
    assert build_snapshot(sidecar(), HOST, facts(), 1).inbound is None


def test_service_defaults_and_then_the_proxy_itself_set_limits_and_protocol() -> None:
    defaults = ServiceDefaults(name="web", protocol="http", max_inbound_connections=9, local_connect_timeout_ms=250)
    inbound = build_snapshot(sidecar(local_service_port=80), HOST, facts(defaults), 1).inbound
    assert inbound is not None
    assert (inbound.protocol, inbound.connections_max, inbound.connect_timeout_s) == ("http", 9, 0.25)
    config = {"protocol": "tcp", "max_inbound_connections": 3, "local_connect_timeout_ms": "1000"}
    own = build_snapshot(sidecar(local_service_port=80, config=config), HOST, facts(defaults), 1).inbound
    assert own is not None
    assert (own.protocol, own.connections_max, own.connect_timeout_s) == ("tcp", 3, 1.0)


def test_nonsense_in_opaque_proxy_config_counts_as_not_set() -> None:
    config = {"local_connect_timeout_ms": "soon", "max_inbound_connections": True, "protocol": 5}
    inbound = build_snapshot(sidecar(local_service_port=80, config=config), HOST, facts(), 1).inbound
    assert inbound is not None
    assert (inbound.protocol, inbound.connections_max, inbound.connect_timeout_s) == ("tcp", 0, 5.0)
