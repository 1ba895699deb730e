"""The os_service check: systemd says that a unit is active. Called by the scheduler."""

from __future__ import annotations

from chowk.agent.checks.dial import in_words
from chowk.agent.checks.outcome import Outcome, critical, passing, readable
from chowk.agent.checks.process import Tail, run_command
from chowk.core.definitions import CheckDefinition


class OsServiceCheck:
    """Asks `systemctl is-active`; `command` stands in for it in tests."""

    def __init__(self, definition: CheckDefinition, command: str = "systemctl") -> None:
        self._unit = definition.os_service
        self._command = command

    async def run(self) -> Outcome:
        """Ask once."""
        tail = Tail(1024)
        try:
            status = await run_command((self._command, "is-active", "--", self._unit), tail)
        except FileNotFoundError:
            return critical(
                f'Service "{self._unit}": there is no {self._command} on this host, so it cannot be checked'
            )
        except (OSError, ValueError) as error:
            return critical(f'Service "{self._unit}": {self._command}: {in_words(error)}')
        if status == 0:
            return passing(f'Service "{self._unit}" is healthy.')
        said = readable(tail.data).strip() or f"exit status {status}"
        return critical(f'Service "{self._unit}" is unhealthy: {said}')
