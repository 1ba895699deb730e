"""A service instance joined with its node and the checks that decide its health: one row of `/v1/health/service`."""

from __future__ import annotations

from chowk.core.records.base import Record
from chowk.core.records.check import HealthCheck, worst_status
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService


class ServiceInstance(Record, frozen=True, kw_only=True):
    """`checks` holds the node's own checks and the instance's, ordered by check id."""

    node: Node
    service: NodeService
    checks: tuple[HealthCheck, ...] = ()

    @property
    def key(self) -> str:
        """Unique within a service: `node/service-id`."""
        return f"{self.node.node}/{self.service.id}"

    @property
    def address(self) -> str:
        """Where clients dial: the service's address, else the node's."""
        return self.service.address or self.node.address

    @property
    def status(self) -> str:
        """The worst status of all its checks."""
        return worst_status(self.checks)
