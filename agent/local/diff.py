"""What has to be written so that the catalog says of this node what the agent says. Pure. Called by `agent.sync`.

The agent is the truth for its node, services and checks; the servers are for what they keep themselves (`serfHealth`, the
`consul` service, a check's service name and tags) and, with `enable_tag_override`, for a service's tags.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Final

import msgspec

from chowk.core.commands import Deregister, Register
from chowk.core.records.check import SERF_HEALTH_ID, HealthCheck
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService

CONSUL_SERVICE_ID: Final = "consul"
CHECKS_PER_WRITE: Final = 64
"""So that a write stays well below the size the servers take."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One node as the agent or the catalog knows it; services by service id, checks by check id."""

    node: Node | None
    services: Mapping[str, NodeService]
    checks: Mapping[str, HealthCheck]


class Op(msgspec.Struct, frozen=True, kw_only=True):
    """One write, and in words why it is needed."""

    command: Register | Deregister
    why: str


def diff(local: Facts, catalog: Facts, held: Container[str] = (), retagged: Container[str] = ()) -> tuple[Op, ...]:
    """The writes, in the order to make them: the node, what has to go, services each with its checks, other checks.

    `held` are ids of checks whose output may lag behind: such a check is not written for its output alone.
    `retagged` are ids of services that were registered with other tags since they were last written: those count, also with
    `enable_tag_override`, until somebody writes others to the catalog.
    """
    node = local.node
    if node is None:
        return ()
    ops: list[Op] = []
    if catalog.node is None or not same_node(node, catalog.node):
        ops.append(Op(command=Register(node=node), why="the node is missing or differs"))
    ops += _removals(node.node, local, catalog)
    changed = {
        key: check for key, check in sorted(local.checks.items()) if check_differs(check, catalog.checks.get(key), held)
    }
    by_service: dict[str, list[str]] = {}
    for key, check in changed.items():
        by_service.setdefault(check.service_id, []).append(key)
    written: set[str] = set()
    for service_id, service in sorted(local.services.items()):
        known = catalog.services.get(service_id)
        own_tags = not service.enable_tag_override or service_id in retagged
        if known is not None and same_service(service, known) and (not own_tags or service.tags == known.tags):
            continue
        first = by_service.get(service_id, [])[:CHECKS_PER_WRITE]
        written.update(first)
        tags = service.tags if known is None or own_tags else known.tags
        command = Register(
            node=node,
            service=msgspec.structs.replace(service, tags=tags),
            checks=tuple(changed[key] for key in first),
            skip_node_update=True,
        )
        ops.append(Op(command=command, why=f'service "{service_id}" {_how(known)}'))
    rest = {key: check for key, check in changed.items() if key not in written}
    return (*ops, *_check_writes(node, rest, catalog))


def output_only(local: Facts, catalog: Facts) -> frozenset[str]:
    """Ids of the checks that differ from the catalog in nothing but their output."""
    return frozenset(
        key
        for key, check in local.checks.items()
        if (known := catalog.checks.get(key)) is not None
        and check.output != known.output
        and not check_differs(check, known, (key,))
    )


def applied(catalog: Facts, command: Register | Deregister) -> Facts:
    """The catalog after `command`, as far as this node goes."""
    services, checks = dict(catalog.services), dict(catalog.checks)
    if isinstance(command, Deregister):
        if command.check_id:
            checks.pop(command.check_id, None)
        elif command.service_id:
            services.pop(command.service_id, None)
            checks = {key: check for key, check in checks.items() if check.service_id != command.service_id}
        else:
            return Facts(node=None, services={}, checks={})
        return Facts(node=catalog.node, services=services, checks=checks)
    if command.service is not None:
        services[command.service.id] = command.service
    checks |= {check.check_id: check for check in command.checks}
    keep = command.skip_node_update and catalog.node is not None
    return Facts(node=catalog.node if keep else command.node, services=services, checks=checks)


def same_node(local: Node, known: Node) -> bool:
    """Equal but for the indexes and the case of the name, which the catalog keeps as it was first written."""
    return local == msgspec.structs.replace(known, node=local.node, create_index=0, modify_index=0)


def same_service(local: NodeService, known: NodeService) -> bool:
    """Equal but for the indexes and, with `enable_tag_override`, the tags."""
    tags = local.tags if local.enable_tag_override else known.tags
    return local == msgspec.structs.replace(known, tags=tags, create_index=0, modify_index=0)


def check_differs(local: HealthCheck, known: HealthCheck | None, held: Container[str] = ()) -> bool:
    """Whether the catalog's check is missing or other than the agent's, but for what the servers fill in themselves."""
    if known is None:
        return True
    output = local.output if local.check_id in held else known.output
    return local != msgspec.structs.replace(
        known,
        node=local.node,
        service_name=local.service_name,
        service_tags=local.service_tags,
        output=output,
        create_index=0,
        modify_index=0,
    )


def _removals(node: str, local: Facts, catalog: Facts) -> Iterator[Op]:
    gone = sorted(catalog.services.keys() - local.services.keys() - {CONSUL_SERVICE_ID})
    for service_id in gone:
        yield Op(
            command=Deregister(node=node, service_id=service_id),
            why=f'service "{service_id}" is in the catalog but not on this agent',
        )
    for check_id in sorted(catalog.checks.keys() - local.checks.keys() - {SERF_HEALTH_ID}):
        if catalog.checks[check_id].service_id not in (*gone, CONSUL_SERVICE_ID):
            yield Op(
                command=Deregister(node=node, check_id=check_id),
                why=f'check "{check_id}" is in the catalog but not on this agent',
            )


def _check_writes(node: Node, checks: Mapping[str, HealthCheck], catalog: Facts) -> Iterator[Op]:
    """Checks of one service go together, CHECKS_PER_WRITE at a time."""
    by_service: dict[str, list[str]] = {}
    for key, check in checks.items():
        by_service.setdefault(check.service_id, []).append(key)
    for _service, keys in sorted(by_service.items()):
        for start in range(0, len(keys), CHECKS_PER_WRITE):
            part = keys[start : start + CHECKS_PER_WRITE]
            words = ", ".join(f'check "{key}" {_how(catalog.checks.get(key))}' for key in part[:4])
            more = f" and {len(part) - 4} more" if len(part) > 4 else ""
            command = Register(node=node, checks=tuple(checks[key] for key in part), skip_node_update=True)
            yield Op(command=command, why=words + more)


def _how(known: object | None) -> str:
    return "is missing in the catalog" if known is None else "differs in the catalog"
