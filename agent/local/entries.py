"""What the agent knows of one service and one check of its own, and how a definition becomes the catalog's record.

Pure. Called by `agent.local.state`; read by everyone who looks at `LocalState.services` and `.checks`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from chowk.core.definitions import CheckDefinition, Position, ServiceDefinition
from chowk.core.durations import format_duration
from chowk.core.records.check import (
    CRITICAL,
    NODE_MAINTENANCE_ID,
    SERVICE_MAINTENANCE_PREFIX,
    HealthCheck,
    is_maintenance,
)
from chowk.core.records.service import ConnectProxy, Locality, NodeService, ServiceConnect
from chowk.core.registration_rules import checked_alone, checked_service

FILE: Final = "file"
API: Final = "api"

NODE_REASON: Final = "Maintenance mode is enabled for this node, but no reason was provided. This is a default message."
SERVICE_REASON: Final = (
    "Maintenance mode is enabled for this service, but no reason was provided. This is a default message."
)


class LocalService(msgspec.Struct, frozen=True, kw_only=True):
    """One service of this agent. `source` is FILE or API; `parent` is the id of the service a sidecar belongs to."""

    definition: ServiceDefinition
    service: NodeService
    source: str
    parent: str = ""


class LocalCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One check of this agent; `definition` has its id and service id filled in. `source` is FILE or API. `restored`: its
    status is what it said before the agent was restarted, and no run has confirmed it yet.
    """

    definition: CheckDefinition
    check: HealthCheck
    source: str
    restored: bool = False


def service_record(definition: ServiceDefinition, locality: Locality | None = None) -> NodeService:
    """The catalog's record of a service as defined; one that does not say where it runs is at the host's `locality`."""
    return NodeService(
        kind=definition.kind,
        id=definition.id or definition.name,
        service=definition.name,
        tags=definition.tags,
        address=definition.address,
        tagged_addresses=definition.tagged_addresses,
        meta=definition.meta,
        port=definition.port,
        socket_path=definition.socket_path,
        weights=definition.weights,
        enable_tag_override=definition.enable_tag_override,
        proxy=definition.proxy or ConnectProxy(),
        connect=ServiceConnect(native=definition.connect.native if definition.connect else False),
        locality=definition.locality or locality,
    )


def service_checks(definition: ServiceDefinition) -> tuple[CheckDefinition, ...]:
    """The checks of a service with Consul's ids and names: `service:<id>`, or `service:<id>:<n>` when it has several."""
    service_id = definition.id or definition.name
    many = len(definition.checks) > 1
    return tuple(
        msgspec.structs.replace(
            check,
            id=check.id or f"service:{service_id}" + (f":{number}" if many else ""),
            name=check.name or f"Service '{definition.name}' check",
            service_id=service_id,
        )
        for number, check in enumerate(definition.checks, 1)
    )


def check_record(
    definition: CheckDefinition, node: str, service: NodeService | None, before: HealthCheck | None
) -> HealthCheck:
    """The catalog's record of a check. It is critical until its first run, or as `status` says, or as it was `before`."""
    return HealthCheck(
        node=node,
        check_id=definition.id,
        name=definition.name or definition.id,
        status=before.status if before else definition.status or CRITICAL,
        notes=definition.notes,
        output=before.output if before else "",
        service_id=definition.service_id,
        service_name=service.service if service else "",
        service_tags=service.tags if service else (),
        type="maintenance" if is_maintenance(definition.id) else definition.type,
        interval=format_duration(definition.interval_s) if definition.interval_s else "",
        timeout=format_duration(definition.timeout_s) if definition.timeout_s else "",
    )


def refuse_wrong(definition: ServiceDefinition, node: str) -> None:
    """InvalidRequest, when the servers would refuse the service or one of its checks for ever."""
    service = checked_service(service_record(definition))
    for check in service_checks(definition):
        checked_alone(check_record(check, node, service, None))


def node_maintenance(reason: str) -> CheckDefinition:
    """The check that takes a whole node out of service."""
    return CheckDefinition(
        id=NODE_MAINTENANCE_ID, name="Node Maintenance Mode", notes=reason or NODE_REASON, status=CRITICAL
    )


def service_maintenance(service_id: str, reason: str) -> CheckDefinition:
    """The check that takes one service instance out of service."""
    return CheckDefinition(
        id=SERVICE_MAINTENANCE_PREFIX + service_id,
        name="Service Maintenance Mode",
        notes=reason or SERVICE_REASON,
        status=CRITICAL,
        service_id=service_id,
    )


def unplaced_check(definition: CheckDefinition) -> CheckDefinition:
    """The check without the line it was written on, which may move without the check being changed."""
    return msgspec.structs.replace(definition, position=Position())


def unplaced(definition: ServiceDefinition) -> ServiceDefinition:
    """The service, its checks and its sidecar without the lines they were written on."""
    connect = definition.connect
    if connect is not None and connect.sidecar_service is not None:
        connect = msgspec.structs.replace(connect, sidecar_service=unplaced(connect.sidecar_service))
    checks = tuple(unplaced_check(check) for check in definition.checks)
    return msgspec.structs.replace(definition, position=Position(), checks=checks, connect=connect)
