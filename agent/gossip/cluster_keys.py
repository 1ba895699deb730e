"""The keys of this agent within its cluster: changes from here and from others, one at a time, in force at once.

Owned by `driver`. The rules of a change across members are in `rotation`, those of one ring in `keyring`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from chowk.agent.gossip import rotation
from chowk.agent.gossip.callbacks import Callbacks
from chowk.agent.gossip.keyring import Keyring, decode_key, encode_key
from chowk.agent.gossip.loop import reason_of
from chowk.agent.gossip.rotation import KeyringReply
from chowk.agent.gossip.sealed import Sealer
from chowk.agent.gossip.transport import Transport
from chowk.core.errors import ChowkError, InvalidRequest
from chowk.core.records.member import Member

log = structlog.get_logger("chowk.gossip")

KEYS: Final = b"k"
"""The first byte of a question about keys."""


class ClusterKeys:
    """`changed` is called with the keys in base64, the primary one first, after each change."""

    def __init__(self, name: str, keyring: Keyring, sealer: Sealer, transport: Transport) -> None:
        self._name = name
        self._keyring = keyring
        self._sealer = sealer
        self._transport = transport
        self._lock = asyncio.Lock()
        self.changed: Callbacks[tuple[str, ...]] = Callbacks()

    def keys(self) -> tuple[str, ...]:
        """The keys in base64, the primary one first; none: gossip is plain."""
        return tuple(encode_key(key) for key in self._keyring.keys)

    async def change(self, operation: str, key: str, members: Sequence[Member]) -> KeyringReply:
        """Do `operation` at `members`. RotationFailed, InvalidRequest."""
        if not self._keyring.keys:
            raise InvalidRequest("gossip is not encrypted on this agent: it has no keyring; set `encrypt` and restart")
        raw = decode_key(key) if operation != rotation.LIST else b""
        return await rotation.change_keys(operation, raw, members, self._ask)

    async def serve(self, question: bytes) -> bytes:
        """The answer to another agent's question. ValueError when it is none."""
        async with self._lock:
            before = self._keyring.keys
            answer = await asyncio.to_thread(rotation.serve, self._keyring, question)
            if self._keyring.keys != before:
                self._sealer.set_keys(self._keyring.keys)
                log.info("the gossip keys changed", keys=len(self._keyring.keys))
                self.changed.call(self.keys())
        return answer

    async def _ask(self, asked: Member, question: bytes) -> bytes:
        if asked.name == self._name:
            return await self.serve(question)
        try:
            return await self._transport.ask(KEYS + question, (asked.address, asked.port), rotation.TIMEOUT_S)
        except (OSError, ValueError, EOFError) as error:
            raise ChowkError(reason_of(error, rotation.TIMEOUT_S)) from error
