"""Instances in memory without the copies that decoding makes: a node is one object for all its instances, and a check has
the names and tags of what it checks. It halves what a view weighs. Pure; called by `fold`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from chowk.core.events import InstanceItem, Payload
from chowk.core.records.check import HealthCheck
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node

SLACK: Final = 64


class SharedNodes:
    """The nodes of one view. Bounded: when it holds many more than there are instances, those that are gone are dropped."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

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
        checks = tuple(_named(check, instance) for check in instance.checks)
        return InstanceItem(instance=ServiceInstance(node=node, service=instance.service, checks=checks))

    def trim(self, items: Iterable[Payload], count: int) -> None:
        """`items` are the `count` that are held now."""
        if len(self._nodes) > 2 * count + SLACK:
            self._nodes = {item.instance.node.node: item.instance.node
                           for item in items if isinstance(item, InstanceItem)}  # fmt: skip


def _named(check: HealthCheck, instance: ServiceInstance) -> HealthCheck:
    node, service = instance.node.node, instance.service
    own = check.service_id == service.id and check.service_name == service.service
    if check.node != node or not own:
        return check
    tags = service.tags if check.service_tags == service.tags else check.service_tags
    return msgspec.structs.replace(
        check, node=node, service_id=service.id, service_name=service.service, service_tags=tags
    )
