"""How many results in a row it takes to change a check's status. Pure. Called by `agent.checks.runner`."""

from __future__ import annotations

from chowk.core.definitions import CheckDefinition
from chowk.core.records.check import CRITICAL, PASSING, WARNING


class Thresholds:
    """Counts results of one check. As Consul's: a warning result counts as a success; `failures_before_warning` is
    `failures_before_critical` when not given; until a threshold is reached the status stays as it is.
    """

    def __init__(self, definition: CheckDefinition) -> None:
        self._success_before_passing = definition.success_before_passing
        self._failures_before_critical = definition.failures_before_critical
        self._failures_before_warning = definition.failures_before_warning or definition.failures_before_critical
        self._successes = 0
        self._failures = 0

    def receive(self, status: str) -> str | None:
        """The status the check has after a result `status`; None: it stays as it is."""
        if status in (PASSING, WARNING):
            self._successes += 1
            self._failures = 0
            return status if self._successes >= self._success_before_passing else None
        self._failures += 1
        self._successes = 0
        if self._failures >= self._failures_before_critical:
            return CRITICAL
        if self._failures >= self._failures_before_warning:
            return WARNING
        return None
