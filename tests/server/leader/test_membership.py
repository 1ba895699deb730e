"""The leader's account of members: this server's own node offers `consul` and is alive."""

from __future__ import annotations

from chowk.core.commands import Envelope, Register
from chowk.core.records.node import Node
from chowk.core.server_options import ServerOptions
from chowk.server.leader.membership import missing_member
from chowk.server.state.machine import apply
from chowk.server.state.store import Store

OPTIONS = ServerOptions(node_id="6a1c", node_name="Host1", address="127.0.0.1:8300", socket_path="/unused")


def store_with(node: Node) -> Store:
    store = Store()
    apply(store, 1, Envelope(client="", sequence=0, time_s=0.0, command=Register(node=node)))
    return store


def test_nothing_is_added_before_the_agent_has_registered_its_node() -> None:
    assert missing_member(Store(), OPTIONS) is None


def test_the_servers_node_gets_the_consul_service_and_its_serf_health_once() -> None:
    store = store_with(Node(id="6a1c", node="Host1", address="127.0.0.1"))
    command = missing_member(store, OPTIONS)
    assert command is not None
    assert command.service is not None
    assert (command.service.service, command.service.port) == ("consul", 8300)
    assert [(check.check_id, check.status) for check in command.checks] == [("serfHealth", "passing")]
    apply(store, 2, Envelope(client="", sequence=0, time_s=0.0, command=command))
    assert missing_member(store, OPTIONS) is None


def test_another_node_of_that_name_is_left_alone() -> None:
    assert missing_member(store_with(Node(id="else", node="Host1", address="127.0.0.1")), OPTIONS) is None
