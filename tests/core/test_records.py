"""Records: their JSON is Consul's, and health is the worst of the checks."""

from __future__ import annotations

import json

import pytest

from chowk.core import codec
from chowk.core.commands import AnyCommand, Envelope, Register, UpsertConfigEntry
from chowk.core.records.base import json_name
from chowk.core.records.check import HealthCheck, worst_status
from chowk.core.records.config_entry import ServiceDefaults
from chowk.core.records.intention import precedence
from chowk.core.records.node import Node
from chowk.core.records.service import ConnectProxy, NodeService


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("service_id", "ServiceID"), ("tls_skip_verify", "TLSSkipVerify"), ("http", "HTTP"), ("create_index", "CreateIndex"),
        ("grpc_use_tls", "GRPCUseTLS"), ("enable_tag_override", "EnableTagOverride"), ("ttl", "TTL"),
    ],
)  # fmt: skip
def test_json_names_are_consuls(field: str, name: str) -> None:
    assert json_name(field) == name


def test_a_node_encodes_with_the_keys_consul_uses() -> None:
    node = json.loads(codec.to_json(Node(id="1", node="n", address="127.0.0.1")))
    assert set(node) == {
        "ID", "Node", "Address", "Datacenter", "TaggedAddresses", "Meta", "CreateIndex", "ModifyIndex",
    }  # fmt: skip


def test_the_worst_check_decides_and_maintenance_outranks_all() -> None:
    def check(status: str, check_id: str = "c") -> HealthCheck:
        return HealthCheck(node="n", check_id=check_id, status=status)

    assert worst_status([]) == "passing"
    assert worst_status([check("passing"), check("warning")]) == "warning"
    assert worst_status([check("critical"), check("warning")]) == "critical"
    assert worst_status([check("passing", "_service_maintenance:web")]) == "maintenance"
    assert worst_status([check("nonsense")]) == "critical"


def test_the_mesh_name_is_the_proxied_service() -> None:
    sidecar = NodeService(kind="connect-proxy", id="w", service="x", proxy=ConnectProxy(destination_service_name="web"))
    assert sidecar.mesh_name == "web"
    assert NodeService(id="w", service="web").mesh_name == ""


def test_commands_survive_the_codec_with_their_types() -> None:
    commands: list[AnyCommand] = [
        Register(node=Node(node="n", address="127.0.0.1")),
        UpsertConfigEntry(entry=ServiceDefaults(name="web", protocol="http"), cas=0),
    ]
    for command in commands:
        envelope = Envelope(client="c", sequence=1, time_s=1.0, command=command)
        assert codec.unpack(codec.pack(envelope), Envelope) == envelope


def test_intention_precedence_is_consuls() -> None:
    pairs = [("web", "db"), ("*", "db"), ("web", "*"), ("*", "*")]
    assert [precedence(source, destination) for source, destination in pairs] == [9, 8, 6, 5]
