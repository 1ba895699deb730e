"""Snapshots that come in: chunk by chunk into a file, one at a time, checked as a whole before anything changes.

Made by `peers`. A connection that is lost costs nothing of what is here: the sender asks from where to go on.
"""

from __future__ import annotations

import asyncio
import zlib
from functools import partial
from typing import Final

import structlog

from chowk.core.errors import ChowkError, InvalidRequest, TooManyRequests, Unavailable
from chowk.core.runtime.rpc.endpoints import Peer
from chowk.server.peers.inbox import Inbox
from chowk.server.peers.inspection import fault
from chowk.server.peers.local import Local
from chowk.server.peers.messages import CHUNK_BYTES_MAX, Chunk, ChunkReply
from chowk.server.peers.transport import PeerTransport
from chowk.server.storage.errors import StorageError
from chowk.server.storage.transfers import SnapshotSink

log = structlog.get_logger("chowk.peers")
IDLE_S: Final = 10.0
"""A transfer that stood still for so long makes room for another sender's."""


class _Transfer:
    def __init__(self, name: str, sender: str, term: int, sink: SnapshotSink, size: int) -> None:
        self.name = name
        self.sender = sender
        self.term = term
        self.sink = sink
        self.size = size
        self.heard_s = 0.0


class Arrivals:
    """The handler of Raft.Snapshot."""

    def __init__(self, local: Local, inbox: Inbox, transport: PeerTransport) -> None:
        self._local = local
        self._inbox = inbox
        self._transport = transport
        self._current: _Transfer | None = None
        self._one_at_a_time = asyncio.Lock()

    async def chunk(self, chunk: Chunk, peer: Peer) -> ChunkReply:
        """Take a chunk. PermissionDenied, InvalidRequest; TooManyRequests while another snapshot comes in."""
        local = self._local
        if not local.engine.has_begun:
            raise TooManyRequests("this server has not started")
        self._inbox.admit(chunk.origin, chunk.voter, peer)
        wrong = fault(chunk.message, chunk.origin.id, local.member.id)
        if not wrong and (len(chunk.data) > CHUNK_BYTES_MAX or not 0 <= chunk.offset < chunk.size):
            wrong = "the chunk is too long, or not of the snapshot"
        if wrong:
            local.refuse("snapshot", peer.name, f"a snapshot of {chunk.origin.node} is refused: {wrong}")
            raise InvalidRequest(wrong)
        self._transport.meet(chunk.origin)
        if self._one_at_a_time.locked():
            raise TooManyRequests("a chunk is being written")
        # A connection that is lost meanwhile leaves no write half done.
        reply: ChunkReply | ChowkError = await asyncio.shield(local.engine.tasks.spawn(self._taken(chunk), "chunk"))
        if isinstance(reply, ChowkError):
            raise reply
        return reply

    async def _taken(self, chunk: Chunk) -> ChunkReply | ChowkError:
        """What another server sent wrong is no failure of this one; what the disk cannot do is."""
        async with self._one_at_a_time:
            try:
                return await self._take(chunk)
            except ChowkError as error:
                return error
            except StorageError as error:
                self._local.engine.fail(error)
                return Unavailable(f"the snapshot cannot be written: {error}")

    async def _take(self, chunk: Chunk) -> ChunkReply:
        local = self._local
        core = local.engine.core
        if chunk.message.term < core.term:
            raise InvalidRequest(
                f"the snapshot is of a leader of term {chunk.message.term}; this server is in {core.term}"
            )
        transfer = await self._transfer(chunk)
        if not chunk.data or chunk.offset != transfer.sink.size:
            return ChunkReply(offset=transfer.sink.size)
        if zlib.crc32(chunk.data) != chunk.checksum:
            local.count("chunks_damaged")
            return ChunkReply(offset=transfer.sink.size)
        snapshots = local.engine.snapshots
        await snapshots.call(partial(transfer.sink.write, chunk.data))
        if transfer.sink.size > transfer.size:
            await self._drop()
            raise InvalidRequest("the snapshot is longer than was said")
        if transfer.sink.size < transfer.size:
            return ChunkReply(offset=transfer.sink.size)
        return await self._install(chunk, transfer)

    async def _install(self, chunk: Chunk, transfer: _Transfer) -> ChunkReply:
        self._current = None
        try:
            done = await self._local.engine.install(chunk.message, transfer.sink)
        except ValueError as error:
            await self._local.engine.snapshots.call(transfer.sink.discard)
            words = f"the snapshot of {chunk.origin.node} cannot be used: {error}"
            self._local.refuse("snapshot", chunk.origin.node, words)
            raise InvalidRequest(words) from error
        log.info("received a snapshot", index=chunk.message.meta.index, bytes=transfer.size, installed=done)
        self._local.count("snapshots_received")
        return ChunkReply(offset=transfer.size, done=done)

    async def _transfer(self, chunk: Chunk) -> _Transfer:
        now = self._local.clock.now()
        current = self._current
        if current is not None and current.name != chunk.transfer:
            stale = now - current.heard_s > IDLE_S
            if current.sender != chunk.origin.id and current.term >= chunk.message.term and not stale:
                raise TooManyRequests("another server sends a snapshot")
            await self._drop()
            current = None
        if current is None:
            engine = self._local.engine
            sink = await engine.snapshots.call(partial(engine.storage.receive_snapshot, chunk.message.meta))
            current = _Transfer(chunk.transfer, chunk.origin.id, chunk.message.term, sink, chunk.size)
            self._current = current
        current.heard_s = now
        return current

    async def _drop(self) -> None:
        if self._current is not None:
            current, self._current = self._current, None
            await self._local.engine.snapshots.call(current.sink.discard)
