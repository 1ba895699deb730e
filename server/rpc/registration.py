"""Checks a registration before it is proposed, and completes it as Consul does. Pure; called by `server.rpc.catalog`,
and by `server.rpc.txn` for the parts that stand alone."""

from __future__ import annotations

from uuid import UUID

import msgspec

from chowk.core import limits
from chowk.core.commands import Deregister, Register
from chowk.core.errors import InvalidRequest
from chowk.core.records.check import CRITICAL, SERF_HEALTH_ID, HealthCheck
from chowk.core.records.node import Node
from chowk.core.registration_rules import checked_alone, checked_service
from chowk.server.state.store import Store


def checked_registration(store: Store, command: Register, datacenter: str) -> Register:
    """The registration as it will be applied. InvalidRequest with the reason when it may not be."""
    if not command.node.node:
        raise InvalidRequest("Must provide node")
    key = command.node.node.lower()
    if not command.node.address and not command.skip_node_update:
        raise InvalidRequest("Must provide address if SkipNodeUpdate is not set")
    if not command.node.address and key not in store.nodes:
        raise InvalidRequest("Missing node registration")
    if not command.skip_node_update or key not in store.nodes:
        check_node(store, command.node)
    service = checked_service(command.service) if command.service is not None else None
    if len(command.checks) > limits.CHECKS_MAX:
        raise InvalidRequest(f"a registration takes at most {limits.CHECKS_MAX} checks")
    checks = tuple(checked_check(store, check, command.node.node) for check in command.checks)
    for check in checks:
        of_this = service is not None and service.id == check.service_id
        if check.service_id and not of_this and (key, check.service_id) not in store.services:
            raise InvalidRequest(
                f'Missing service registration: check "{check.check_id}" is of service "{check.service_id}"'
            )
    node = msgspec.structs.replace(command.node, datacenter=datacenter, create_index=0, modify_index=0)
    return msgspec.structs.replace(command, node=node, service=service, checks=checks)


def check_deregistration(command: Deregister) -> None:
    """InvalidRequest when it names nothing."""
    if not command.node:
        raise InvalidRequest("Must provide node")


def check_node(store: Store, node: Node) -> None:
    """InvalidRequest when the node may not be written, or its name is another's that lives."""
    limits.check_node_name(node.node)
    limits.check_address(node.address, "node address")
    limits.check_meta(node.meta, "Node")
    for name, address in node.tagged_addresses.items():
        limits.check_name(name, "Tagged address name")
        limits.check_address(address, f'tagged address "{name}"')
    if not node.id:
        return
    try:
        UUID(node.id)
    except ValueError as error:
        raise InvalidRequest(f"Bad node ID: {node.id!r} is not a UUID") from error
    owner = store.nodes.get(node.node.lower())
    if owner is not None and owner.id not in ("", node.id) and _alive(store, node.node.lower()):
        raise InvalidRequest(
            f"Node name {node.node} is reserved by node {owner.id} with name {owner.node} ({owner.address}):"
            " give this node another node_name, or deregister the other one first"
        )


def _alive(store: Store, key: str) -> bool:
    serf = store.checks.get((key, SERF_HEALTH_ID))
    return serf is not None and serf.status != CRITICAL


def checked_check(store: Store, check: HealthCheck, node: str) -> HealthCheck:
    """The check as it will be applied; whether its service exists is not looked at. InvalidRequest when it may not be."""
    check = checked_alone(check)
    if check.node and check.node.lower() != node.lower():
        raise InvalidRequest(
            f'check "{check.check_id}" is of node "{check.node}", but the registration is of node "{node}"'
        )
    siblings = store.checks_of_service.get((node.lower(), check.service_id), {})
    if len(siblings) >= limits.CHECKS_MAX and (node.lower(), check.check_id) not in siblings:
        raise InvalidRequest(f"a service, and a node by itself, takes at most {limits.CHECKS_MAX} checks")
    return msgspec.structs.replace(check, node=node)
