"""PeerTransport: driver.transport.Transport over RPC. One link a server, and one more connection for each snapshot sent."""

from __future__ import annotations

import asyncio
import random
import zlib
from functools import partial
from typing import Final

import msgspec
import structlog

from chowk.core.errors import ChowkError
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.tasks import TaskOwner
from chowk.server.peers.link import Link
from chowk.server.peers.local import Local
from chowk.server.peers.messages import CHUNK_BYTES_MAX, RAFT_SNAPSHOT, Chunk, ChunkReply, Origin
from chowk.server.raft.messages import InstallSnapshot, Message
from chowk.server.raft.records import Configuration, Member
from chowk.server.storage.transfers import SnapshotSource

log = structlog.get_logger("chowk.peers")
GUESTS_MAX: Final = 16
"""Servers that spoke to this one and that its configuration does not know (yet)."""
CHUNK_TIMEOUT_S: Final = 30.0
INSTALL_TIMEOUT_S: Final = 600.0
_encoder: Final = msgspec.msgpack.Encoder()


class PeerTransport:
    """See driver.transport.Transport. `close` ends every connection."""

    def __init__(self, local: Local, rng: random.Random) -> None:
        self._local = local
        self._rng = rng
        self._tasks = TaskOwner("peers")
        self._links: dict[str, Link] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._guests: dict[str, None] = {}
        self._dirty: dict[str, Link] = {}

    def update(self, configuration: Configuration) -> None:
        """Have a link to every other member, where the configuration says it is."""
        for member in configuration.members:
            if member.id != self._local.member.id:
                self._guests.pop(member.id, None)
                self._link(member)
        known = {member.id for member in configuration.members}
        for id in [id for id in self._links if id not in known and id not in self._guests]:
            if configuration.members:
                self._forget(id)

    def meet(self, origin: Origin) -> None:
        """A server that may be answered spoke: a way to it is needed, though no configuration may name it here yet."""
        if origin.id in self._links:
            return
        while len(self._guests) >= GUESTS_MAX:
            self._forget(next(iter(self._guests)))
        self._guests[origin.id] = None
        self._link(Member(origin.id, origin.address, origin.node, voter=False))

    def _link(self, member: Member) -> None:
        link = self._links.get(member.id)
        if link is not None:
            link.moved(member)
            return
        self._links[member.id] = link = Link(self._local, member, self._rng)
        self._running[member.id] = self._tasks.spawn(link.run(), f"link-{member.id}")

    def _forget(self, id: str) -> None:
        self._guests.pop(id, None)
        self._dirty.pop(id, None)
        self._links.pop(id, None)
        self._running.pop(id).cancel()

    def send(self, message: Message) -> None:
        """Send with the next flush, or drop."""
        link = self._links.get(message.target)
        if link is None:
            self._local.count("messages_dropped")
            return
        link.put(msgspec.Raw(_encoder.encode(message)))
        self._dirty[message.target] = link

    def flush(self) -> None:
        """What was sent goes out."""
        if self._dirty:
            for link in self._dirty.values():
                link.flush()
            self._dirty.clear()

    async def send_snapshot(self, message: InstallSnapshot, source: SnapshotSource) -> bool:
        """Send a snapshot from where the other server has it already. False: the core asks again, a heartbeat later."""
        link = self._links.get(message.target)
        if link is None:
            return False
        member = link.member
        try:
            async with asyncio.timeout(CHUNK_TIMEOUT_S):
                connection = await self._local.dial(self._local.address_of(member))
        except (ChowkError, TimeoutError):
            return False
        try:
            done = await self._send_chunks(connection, member, message, source)
        except ChowkError as error:
            self._local.count("snapshots_failed")
            log.warning("a snapshot did not arrive; trying again", server=member.node, reason=str(error))
            return False
        finally:
            await connection.close()
        self._local.count("snapshots_sent")
        log.info("sent a snapshot", server=member.node, index=source.meta.index, bytes=source.size, installed=done)
        return done

    async def _send_chunks(
        self, connection: RpcConnection, member: Member, message: InstallSnapshot, source: SnapshotSource
    ) -> bool:
        local = self._local
        transfer = f"{local.member.id}/{source.meta.index}/{source.meta.term}/{source.size}"

        async def chunk(offset: int, data: bytes, timeout_s: float) -> ChunkReply:
            request = Chunk(
                origin=local.origin,
                voter=member.voter,
                message=message,
                transfer=transfer,
                size=source.size,
                offset=offset,
                checksum=zlib.crc32(data),
                data=data,
            )
            return await connection.call(RAFT_SNAPSHOT, request, timeout_s=timeout_s)

        reply = await chunk(0, b"", CHUNK_TIMEOUT_S)
        while not reply.done and reply.offset < source.size:
            offset = reply.offset
            data = await local.engine.snapshots.call(partial(source.read, offset, CHUNK_BYTES_MAX))
            is_last = offset + len(data) == source.size
            reply = await chunk(offset, data, INSTALL_TIMEOUT_S if is_last else CHUNK_TIMEOUT_S)
            if not reply.done and reply.offset <= offset:
                break
        return reply.done

    async def close(self) -> None:
        """End every connection."""
        await self._tasks.close()
