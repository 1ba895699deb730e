"""The CA's private key on more servers than one, so that a new leader signs under the same root.

A key goes from server to server only: over the connections between them (mutual TLS, the role of a server), into each
one's `KeyStore`. It is never in Raft's log, a snapshot, an answer to an agent, or what is logged. Called by `authority` and
by the duty `KeyCopies`; `serve` offers this server's end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from chowk.connect.ca.keys import load_key
from chowk.core.errors import ChowkError, InvalidRequest, Unavailable
from chowk.core.peer_requests import CA_KEY_LOAD, CA_KEY_SAVE, CAKey, CAKeyQuery
from chowk.core.records.ca import CARoot
from chowk.core.requests import Empty, RaftServer
from chowk.core.runtime.clock import Clock
from chowk.server.leader.keystore import KEY_BYTES_MAX, KeyStore
from chowk.server.port import Consensus
from chowk.server.rpc.gate import Gate
from chowk.server.rpc.servers import OtherServers

log = structlog.get_logger("chowk.ca")
CALL_TIMEOUT_S: Final = 2.0
UNUSED_S: Final = 86_400.0
"""The age from which the key of a root that the store does not know is removed."""


class KeySharing:
    """Copies keys to, and from, the other servers of the cluster. `roots` are those that the store knows now."""

    def __init__(
        self,
        consensus: Consensus,
        servers: OtherServers,
        keys: KeyStore,
        roots: Callable[[], tuple[CARoot, ...]],
        clock: Clock,
    ) -> None:
        self._consensus = consensus
        self._servers = servers
        self._keys = keys
        self._roots = roots
        self._clock = clock

    def serve(self, gate: Gate) -> None:
        """Offer this server's end."""
        gate.serve(CA_KEY_SAVE, self._save)
        gate.serve(CA_KEY_LOAD, self._load)

    def others(self) -> tuple[RaftServer, ...]:
        """The other servers of the cluster; to be called where this server leads."""
        _index, servers = self._consensus.configuration()
        return tuple(server for server in servers if not server.leader)

    async def prune(self, active: str) -> None:
        """Remove old keys of roots that are not trusted (any more, or that never were): `active` is the leader's root. A key
        is durable before its root is replicated, so a young one is left alone."""
        roots = self._roots()
        if not any(root.id == active for root in roots):
            return
        keep = {root.id for root in roots}
        try:
            gone = await asyncio.to_thread(self._keys.prune, keep, self._clock.wall() - UNUSED_S)
        except OSError as error:
            log.warning("keys of roots that are not used cannot be removed", error=str(error))
        else:
            if gone:
                log.info("removed the keys of roots that are not used", roots=gone)

    async def copy(self, server: RaftServer, root_id: str, pem: bytes) -> bool:
        """Whether `server` holds the key now, durably."""
        try:
            await self._servers.call(
                server.address, CA_KEY_SAVE, CAKey(root_id=root_id, pem=pem), timeout_s=CALL_TIMEOUT_S
            )
        except ChowkError as error:
            log.debug("a server did not take a copy of the CA's key", server=server.node, error=str(error))
            return False
        return True

    async def publish(self, root_id: str, pem: bytes) -> None:
        """Return when a majority of the voters, this one included, holds the key. Unavailable."""
        others = self.others()
        held = await asyncio.gather(*(self.copy(server, root_id, pem) for server in others))
        voters = [has for server, has in zip(others, held, strict=True) if server.voter]
        if 2 * (1 + sum(voters)) <= 1 + len(voters):
            raise Unavailable(
                f"the CA's key is on {1 + sum(voters)} of {1 + len(voters)} voting servers: a new root waits for a majority"
            )

    async def find(self, root_id: str, is_its_key: Callable[[bytes], bool]) -> bytes | None:
        """The key as another server holds it, a damaged copy passed over; None when none of a majority has it. Unavailable
        when too few answered."""
        others = self.others()
        answers = await asyncio.gather(*(self._ask(server, root_id) for server in others))
        for server, answer in zip(others, answers, strict=True):
            if answer is None or answer.pem is None:
                continue
            if is_its_key(answer.pem):
                return answer.pem
            log.error("a server's copy of the CA's key is damaged", server=server.node, root=root_id)
        voters = [answer is not None for server, answer in zip(others, answers, strict=True) if server.voter]
        if 2 * (1 + sum(voters)) <= 1 + len(voters):
            raise Unavailable("the CA's key is not here, and too few of the other servers answer to ask for it")
        return None

    async def _ask(self, server: RaftServer, root_id: str) -> CAKey | None:
        try:
            return await self._servers.call(
                server.address, CA_KEY_LOAD, CAKeyQuery(root_id=root_id), timeout_s=CALL_TIMEOUT_S
            )
        except ChowkError as error:
            log.warning("a server does not say whether it has the CA's key", server=server.node, error=str(error))
            return None

    async def _save(self, key: CAKey) -> Empty:
        if key.pem is None or len(key.pem) > KEY_BYTES_MAX:
            raise InvalidRequest("this is not the key of a root")
        try:
            load_key(key.pem)
            if await asyncio.to_thread(self._keys.load, key.root_id) != key.pem:
                await asyncio.to_thread(self._keys.save, key.root_id, key.pem)
                log.info("holds a copy of the CA's key", root=key.root_id)
        except ValueError:
            raise InvalidRequest("this is not the key of a root") from None
        except OSError as error:
            raise Unavailable(f"the key cannot be kept: {error}") from error
        await self.prune(key.root_id)
        return Empty()

    async def _load(self, query: CAKeyQuery) -> CAKey:
        try:
            return CAKey(root_id=query.root_id, pem=await asyncio.to_thread(self._keys.load, query.root_id))
        except ValueError:
            raise InvalidRequest("this is not the id of a root") from None
        except OSError as error:
            raise Unavailable(f"the key cannot be read: {error}") from error
