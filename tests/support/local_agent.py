"""A LocalState with a ManualClock and a node, as the agent's rooms get it from boot."""

from __future__ import annotations

from chowk.agent.local.registrations import Registrations
from chowk.agent.local.state import LocalState
from chowk.core.definitions import ConnectDefinition, ServiceDefinition
from chowk.core.records.node import Node
from chowk.core.runtime.clock import Clock, ManualClock

NODE = Node(id="6c0a3c60-0000-4000-8000-000000000001", node="n1", address="127.0.0.1")
PORTS = range(21000, 21256)


def make_local(kept: Registrations | None = None, clock: Clock | None = None, ports: range = PORTS) -> LocalState:
    return LocalState(NODE, clock or ManualClock(), kept, ports)


def meshed(name: str, port: int = 0, sidecar: ServiceDefinition | None = None) -> ServiceDefinition:
    """A service with a sidecar."""
    return ServiceDefinition(
        name=name, port=port, connect=ConnectDefinition(sidecar_service=sidecar or ServiceDefinition())
    )
