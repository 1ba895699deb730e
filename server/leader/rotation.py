"""Sees that no root or intermediate ends in use: looks every few seconds what is due. A `duties.Duty`."""

from __future__ import annotations

from typing import Final

from chowk.core.runtime.clock import Clock
from chowk.server.leader.authority import CertificateAuthority

LOOK_S: Final = 2.0


class Rotation:
    """One step a look; a step that fails is tried again by the duty's own pauses."""

    name = "rotation of the CA's certificates"

    def __init__(self, authority: CertificateAuthority, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock

    async def run(self) -> None:
        """See duties.Duty."""
        while True:
            await self._clock.sleep(LOOK_S)
            await self._authority.step()
