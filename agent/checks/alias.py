"""The alias check: as healthy as another service or node. Local ones are computed from the agent's own state at each
change (pure); those of other nodes are followed by blocking reads. Called by the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeVar

import structlog

from chowk.agent.checks.outcome import Outcome, critical, passing
from chowk.core.definitions import CheckDefinition
from chowk.core.errors import ChowkError
from chowk.core.records.check import CRITICAL, WARNING, HealthCheck
from chowk.core.requests import CATALOG_NODE_SERVICES, Method, QueryOptions, Read
from chowk.core.runtime.clock import Clock

log = structlog.get_logger("chowk.checks")
Q = TypeVar("Q")
A = TypeVar("A")
WAIT_S: Final = 60.0
PAUSE_S: Final = 1.0
RETRY_S: Final = 5.0


class Caller(Protocol):
    """What is needed of `agent.client.pool.ServerClient` to follow other nodes."""

    async def call(self, method: Method[Q, A], request: Q, *, timeout_s: float = 10.0) -> A: ...


def alias_outcome(checks: Iterable[HealthCheck], own_id: str, service_id: str, found: bool, node: str) -> Outcome:
    """The health that `checks` of a node give service `service_id` ("": the node): the node's own and the service's count.

    `found` False (no such service there) is critical; no checks at all pass.
    """
    if not found:
        return critical(f"Service {service_id} could not be found on node {node}" if service_id else f"No node {node}")
    outcome = passing("No checks found.")
    for check in sorted(checks, key=lambda each: each.check_id):
        if check.check_id == own_id or check.service_id not in ("", service_id):
            continue
        if check.status == CRITICAL:
            return critical(f'Aliased check "{check.name}" failing: {check.output}')
        if check.status == WARNING:
            outcome = Outcome(WARNING, f'Aliased check "{check.name}" failing: {check.output}')
        elif outcome.status != WARNING:
            outcome = passing("All checks passing.")
    return outcome


async def follow_remote(
    definition: CheckDefinition, client: Caller, clock: Clock, report: Callable[[Outcome], None]
) -> None:
    """Report the health of a service on another node, for ever. While no server answers the last report stands."""
    index = 0
    while True:
        request = Read(name=definition.alias_node, options=QueryOptions(min_index=index, max_wait_s=WAIT_S))
        try:
            reply = await client.call(CATALOG_NODE_SERVICES, request, timeout_s=WAIT_S + 10.0)
        except ChowkError as error:
            log.debug("an aliased node cannot be read", check=definition.id, error=str(error))
            index = 0
            await clock.sleep(RETRY_S)
            continue
        index = reply.meta.index
        service_id = definition.alias_service
        found = reply.node is not None and (
            not service_id or any(service.id == service_id for service in reply.services)
        )
        report(alias_outcome(reply.checks, definition.id, service_id, found, definition.alias_node))
        await clock.sleep(PAUSE_S)
