"""What this server promised while it was blank, kept in a note beside the log; and the moment it is blank no more.

Used by `inbox` and `formation`, on the event loop; one step at a time.
"""

from __future__ import annotations

import asyncio
import zlib
from functools import partial
from typing import Final

import msgspec
import structlog

from chowk.core.errors import PermissionDenied
from chowk.server.driver.bootstrap import founded
from chowk.server.driver.engine import Engine
from chowk.server.peers.founding import COMMIT, Promise, answer
from chowk.server.peers.messages import FoundReply, FoundRequest
from chowk.server.raft.records import Configuration, Member
from chowk.server.storage.errors import StorageError

log = structlog.get_logger("chowk.peers")
NOTE: Final = "founding"
_CHECKSUM_BYTES: Final = 4


class Promises:
    """`current` is durable."""

    def __init__(self, engine: Engine, member: Member, expect: int) -> None:
        self._engine = engine
        self._member = member
        self._expect = expect
        self._one_at_a_time = asyncio.Lock()
        self.current = Promise()

    async def load(self) -> None:
        """What was promised before a restart. StorageError."""
        data = await self._engine.writer.call(partial(self._engine.storage.read_note, NOTE))
        if data is None:
            return
        body = data[_CHECKSUM_BYTES:]
        if data[:_CHECKSUM_BYTES] != _checksum(body):
            raise StorageError(
                f"the file {NOTE} in the server's folder is damaged: this server may have agreed to found a cluster. If "
                "there is one, move the folder away and let it join; if not, remove the file on every server"
            )
        self.current = msgspec.msgpack.decode(body, type=Promise)

    async def _keep(self, promise: Promise) -> None:
        body = msgspec.msgpack.encode(promise)
        engine = self._engine
        try:
            await engine.writer.call(partial(engine.storage.write_note, NOTE, _checksum(body) + body))
        except StorageError as error:
            engine.fail(error)
            raise
        self.current = promise

    async def answer(self, request: FoundRequest) -> FoundReply:
        """Take a step of the founding. PermissionDenied when this server is blank no more."""
        async with self._one_at_a_time:
            if not self._engine.is_blank:
                if request.step == COMMIT and request.configuration.cluster == self._engine.core.configuration.cluster:
                    return FoundReply(ok=True)
                raise PermissionDenied(f"{self._member.node} is part of a cluster already")
            if request.step == COMMIT:
                if request.configuration != self.current.configuration:
                    raise PermissionDenied(f"{self._member.node} did not accept this configuration")
                await self._found(request.configuration)
                return FoundReply(ok=True)
            reply, promise = answer(self.current, request, self._member, self._expect)
            if promise != self.current:
                await self._keep(promise)
            return reply

    async def found(self, configuration: Configuration) -> None:
        """The configuration that this server accepted was chosen: begin with it."""
        async with self._one_at_a_time:
            if self._engine.is_blank:
                await self._found(configuration)

    async def _found(self, configuration: Configuration) -> None:
        engine = self._engine
        term = engine.core.term
        await engine.begin_again(lambda: founded(engine.storage, configuration, term))
        log.info(
            "founded a cluster",
            cluster=configuration.cluster,
            members=[member.node for member in configuration.members],
        )

    async def forget(self) -> None:
        """What was accepted can never be chosen."""
        async with self._one_at_a_time:
            if self._engine.is_blank:
                await self._keep(Promise(promised=self.current.promised))


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "big")
