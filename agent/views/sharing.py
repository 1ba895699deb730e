"""Instances in memory without the copies that decoding makes: a node is one object for all its instances, a check has the
names and tags of what it checks, and what an instance has in common with the one before it is one. Pure; called by `fold`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from chowk.core.events import InstanceItem, Payload
from chowk.core.records.base import Record
from chowk.core.records.check import HealthCheck
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService

R = TypeVar("R", bound=Record)
SLACK: Final = 64


class SharedNodes:
    """The nodes of one view. Bounded: when it holds many more than there are instances, those that are gone are dropped."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._last: ServiceInstance | None = None

    def __len__(self) -> int:
        return len(self._nodes)

    def share(self, payload: Payload) -> Payload:
        """An equal payload, in which equal parts are one."""
        if not isinstance(payload, InstanceItem):
            return payload
        instance = payload.instance
        node = self._nodes.get(instance.node.node)
        if node is None or node != instance.node:
            node = self._nodes[instance.node.node] = instance.node
        service, checks, last = instance.service, instance.checks, self._last
        if last is not None:
            service = _like(service, last.service)
            before = (*last.checks, *checks[len(last.checks) :])
            checks = tuple(_like(check, other) for check, other in zip(checks, before, strict=False))
        checks = tuple(_named(check, node, service) for check in checks)
        self._last = ServiceInstance(node=node, service=service, checks=checks)
        return InstanceItem(instance=self._last)

    def trim(self, items: Iterable[Payload], count: int) -> None:
        """`items` are the `count` that are held now."""
        if len(self._nodes) > 2 * count + SLACK:
            self._nodes = {item.instance.node.node: item.instance.node
                           for item in items if isinstance(item, InstanceItem)}  # fmt: skip


def _like(record: R, other: R) -> R:
    """`record`, whose values that equal those of `other` are those."""
    same = {}
    for field in record.__struct_fields__:
        value, theirs = getattr(record, field), getattr(other, field)
        if value is not theirs and value == theirs:
            same[field] = theirs
    return msgspec.structs.replace(record, **same) if same else record


def _named(check: HealthCheck, node: Node, service: NodeService) -> HealthCheck:
    if (check.node, check.service_id, check.service_name) != (node.node, service.id, service.service):
        return check
    tags = service.tags if check.service_tags == service.tags else check.service_tags
    return msgspec.structs.replace(
        check, node=node.node, service_id=service.id, service_name=service.service, service_tags=tags
    )
