"""Watches how long certificates still live, apart from whoever renews them: a renewal that fails must not be silent too.

Looks at every certificate this agent knows, logs what comes to its end, and shows it as a check of the node. Started by
boot. The check is told, not judged: it takes no service out of rotation, for that would be the outage it warns of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from chowk.agent.api.agent_certificates import CertificateLife
from chowk.agent.local.state import LocalState
from chowk.core.definitions import CheckDefinition
from chowk.core.durations import format_duration
from chowk.core.records.check import CERTIFICATES_ID, CRITICAL, WARNING
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.expiry")
LOOK_S: Final = 15.0
AGAIN_S: Final = 3600.0
"""What is still so is logged again so often."""
SHOWN_MAX: Final = 20
SOURCE: Final = "agent"
_STATUS: Final = {"warning": WARNING, "critical": CRITICAL}


class ExpiryWatch:
    """`known` tells the certificates."""

    def __init__(
        self, known: Callable[[], Awaitable[Sequence[CertificateLife]]], local: LocalState, clock: Clock
    ) -> None:
        self._known = known
        self._local = local
        self._clock = clock
        self._tasks = TaskOwner("expiry")
        self._told: dict[tuple[str, str], tuple[str, float]] = {}
        self._shown = False

    async def start(self) -> None:
        """Begin to look."""
        self._tasks.spawn(self._run(), "watch")

    async def close(self) -> None:
        """Look no more."""
        await self._tasks.close()

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            self.look([each for each in await self._known() if each.active])

    def look(self, certificates: Sequence[CertificateLife]) -> None:
        """Tell of those that come to their end."""
        now_s = self._clock.wall()
        ending = sorted(
            (each for each in certificates if each.severity(now_s) != "ok"), key=lambda each: (each.ends_s, each.name)
        )
        for each in ending:
            self._log(each, now_s)
        alive = {(each.type, each.name) for each in ending}
        self._told = {key: value for key, value in self._told.items() if key in alive}
        self._show(ending, now_s)

    def _log(self, certificate: CertificateLife, now_s: float) -> None:
        severity, key = certificate.severity(now_s), (certificate.type, certificate.name)
        before, at = self._told.get(key, ("", 0.0))
        if before == severity and self._clock.now() - at < AGAIN_S:
            return
        self._told[key] = (severity, self._clock.now())
        tell = log.error if severity == "critical" else log.warning
        tell(
            "a certificate comes to its end",
            type=certificate.type,
            name=certificate.name,
            left=_left(certificate, now_s),
        )

    def _show(self, ending: Sequence[CertificateLife], now_s: float) -> None:
        """The check is there while there is something to say."""
        if not ending:
            if self._shown:
                self._local.deregister_check(CERTIFICATES_ID)
                self._shown = False
                log.info("no certificate comes to its end any more")
            return
        worst = "critical" if any(each.severity(now_s) == "critical" for each in ending) else "warning"
        if not self._shown:
            definition = CheckDefinition(
                id=CERTIFICATES_ID,
                name="Certificates",
                notes="Told, not judged: services stay in rotation. See chowk connect ca status.",
            )
            self._local.register_check(definition, SOURCE)
            self._shown = True
        lines = [f"{each.type} {each.name}: {_left(each, now_s)}" for each in ending[:SHOWN_MAX]]
        if len(ending) > SHOWN_MAX:
            lines.append(f"and {len(ending) - SHOWN_MAX} more")
        self._local.update_check(CERTIFICATES_ID, _STATUS[worst], "\n".join(lines))


def _left(certificate: CertificateLife, now_s: float) -> str:
    """In whole minutes, so that a check's output changes once a minute at most."""
    seconds = certificate.left_s(now_s)
    return "has ended" if seconds <= 0 else f"ends in {format_duration(seconds // 60 * 60) if seconds >= 60 else '1m'}"
