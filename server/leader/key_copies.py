"""Sees that every server holds the CA's key, those added later too. A `duties.Duty`."""

from __future__ import annotations

from typing import Final

from chowk.core.runtime.clock import Clock
from chowk.server.leader.authority import CertificateAuthority
from chowk.server.leader.key_sharing import KeySharing

LOOK_S: Final = 2.0
AGAIN_S: Final = 60.0
"""A server that is known to hold the key is given it again this often: it may have lost its disk since."""


class KeyCopies:
    """Copies the active root's key to the servers that are not known to hold it."""

    name = "copies of the CA's key"

    def __init__(self, authority: CertificateAuthority, sharing: KeySharing, clock: Clock) -> None:
        self._authority = authority
        self._sharing = sharing
        self._clock = clock

    async def run(self) -> None:
        """See duties.Duty."""
        copied_at: dict[tuple[str, str], float] = {}
        while True:
            await self._clock.sleep(LOOK_S)
            active = await self._authority.active_key()
            if active is None:
                continue
            root_id, pem = active
            others = self._sharing.others()
            wanted = {(root_id, server.id): server for server in others}
            copied_at = {each: at for each, at in copied_at.items() if each in wanted}
            for each, server in wanted.items():
                now = self._clock.now()
                if now - copied_at.get(each, now - AGAIN_S) >= AGAIN_S and await self._sharing.copy(
                    server, root_id, pem
                ):
                    copied_at[each] = now
