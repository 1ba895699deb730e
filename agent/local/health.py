"""What each check last said, kept over a restart of the agent, so that what never stopped is not called critical meanwhile.

Made by `agent.local.state`, over `agent.local.registrations`. A TTL check's status is believed for its TTL. Any other's is
believed for the first moments of the next agent, when that runs under the same kernel boot (after a reboot nothing that
passed is running any more) and the check looks at the same thing; its first run follows within about two seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
import structlog

from chowk.agent.local.registrations import CheckState, Registrations
from chowk.core.definitions import CheckDefinition, Position
from chowk.core.runtime.clock import Clock

log = structlog.get_logger("chowk.local")
OUTPUT_BYTES_MAX: Final = 4096
"""As much of an output is kept of a check that is not a TTL check."""


class KeptHealth:
    """`registrations` None (-dev) keeps nothing and writes nothing."""

    def __init__(self, registrations: Registrations | None, clock: Clock) -> None:
        self._registrations = registrations
        self._clock = clock
        self._states = registrations.states() if registrations else {}
        self._kept: dict[str, tuple[str, CheckDefinition]] = {}
        """What the files say, by check id: only what differs from it is written."""

    def before(self, definition: CheckDefinition) -> CheckState | None:
        """What the check said before the agent was restarted, if that is to be believed; None after `settle`."""
        state = self._states.get(definition.id)
        if state is None or self._registrations is None:
            return None
        if definition.ttl_s:
            return state if abs(self._clock.wall() - state.saved_at_s) <= definition.ttl_s else None
        boot_id = self._registrations.boot_id
        if definition.status or not boot_id or state.boot_id != boot_id or state.digest != digest(definition):
            return None
        self._kept[definition.id] = (state.status, definition)
        return state

    def note(self, definition: CheckDefinition, status: str, output: str) -> None:
        """The check has this status now: keep it if it is news. A disk that refuses is logged, and harms nothing else."""
        kept = self._registrations
        if kept is None:
            return
        if not definition.ttl_s:
            written = self._kept.get(definition.id)
            if not kept.boot_id or (written and written[0] == status and written[1] is definition):
                return
            output = output.encode("utf-8", errors="replace")[:OUTPUT_BYTES_MAX].decode("utf-8", errors="ignore")
        state = CheckState(
            check_id=definition.id,
            status=status,
            output=output,
            saved_at_s=self._clock.wall(),
            boot_id=kept.boot_id,
            digest=digest(definition),
        )
        try:
            kept.save_state(state)
        except OSError as error:
            self._kept.pop(definition.id, None)
            log.warning("a check's status could not be kept", check=definition.id, error=str(error))
            return
        self._kept[definition.id] = (status, definition)

    def forget(self, check_id: str) -> None:
        """The check, and its file, are gone."""
        self._kept.pop(check_id, None)

    def settle(self, definitions: Iterable[CheckDefinition]) -> None:
        """All that was there before the restart is placed: what was not believed is removed, so that it never will be."""
        self._states = {}
        if self._registrations is None:
            return
        try:
            self._registrations.keep_states_of({each.id for each in definitions if each.ttl_s or each.id in self._kept})
        except OSError as error:
            log.warning("statuses of old checks could not be removed", error=str(error))


def digest(definition: CheckDefinition) -> str:
    """Equal for definitions that look at the same thing: how often, how patiently and under what name does not count."""
    looked_at = msgspec.structs.replace(
        definition,
        name="",
        notes="",
        token="",
        interval_s=0.0,
        timeout_s=0.0,
        output_max_size=0,
        success_before_passing=0,
        failures_before_warning=0,
        failures_before_critical=0,
        deregister_critical_service_after_s=0.0,
        position=Position(),
    )
    return hashlib.sha256(msgspec.json.encode(looked_at, order="deterministic")).hexdigest()
