"""Sees that every server holds the CA's key, those added later too. A `duties.Duty`."""

from __future__ import annotations

from typing import Final

import structlog

from chowk.core.requests import RaftServer
from chowk.core.runtime.clock import Clock
from chowk.server.leader.authority import CertificateAuthority
from chowk.server.leader.key_sharing import KeySharing

log = structlog.get_logger("chowk.ca")
LOOK_S: Final = 2.0
RETRY_S: Final = 10.0
AGAIN_S: Final = 60.0
"""A server that is known to hold the key is given it again this often: it may have lost its disk since."""


class KeyCopies:
    """Copies the keys of the roots that sign, now or next, to the servers that are not known to hold them."""

    name = "copies of the CA's key"

    def __init__(self, authority: CertificateAuthority, sharing: KeySharing, clock: Clock) -> None:
        self._authority = authority
        self._sharing = sharing
        self._clock = clock

    async def run(self) -> None:
        """See duties.Duty."""
        due: dict[tuple[str, str], float] = {}
        lacking: set[str] = set()
        prune_at = 0.0
        while True:
            await self._clock.sleep(LOOK_S)
            keys = dict(await self._authority.keys())
            if not keys:
                continue
            if self._clock.now() >= prune_at:
                await self._sharing.prune(next(iter(keys)))
                prune_at = self._clock.now() + AGAIN_S
            wanted = {(root_id, server.id): server for root_id in keys for server in self._sharing.others()}
            due = {each: at for each, at in due.items() if each in wanted}
            lacking &= {server.id for server in wanted.values()}
            for each, server in wanted.items():
                if self._clock.now() >= due.get(each, 0.0):
                    has_it = await self._sharing.copy(server, each[0], keys[each[0]])
                    due[each] = self._clock.now() + (AGAIN_S if has_it else RETRY_S)
                    _tell(server, lacking, has_it=has_it)


def _tell(server: RaftServer, lacking: set[str], *, has_it: bool) -> None:
    """Once when a server is found to lack the key, once when it has it then."""
    if not has_it and server.id not in lacking:
        lacking.add(server.id)
        log.warning("a server has no copy of the CA's key; trying again", server=server.node)
    elif has_it and server.id in lacking:
        lacking.discard(server.id)
        log.info("the server has a copy of the CA's key now", server=server.node)
