"""Snapshot: the whole state out, at one index; and back in, through the log (server.state.restore)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Final

from chowk.core.commands import FinishRestore, StageRestore
from chowk.core.errors import InternalError, InvalidRequest, TooManyRequests
from chowk.core.operator_requests import (
    SNAPSHOT_CHUNK,
    SNAPSHOT_FINISH,
    SNAPSHOT_SAVE,
    RestoreChunk,
    RestoreFinish,
    SnapshotPart,
    SnapshotQuery,
)  # fmt: skip
from chowk.core.requests import CONSISTENT, STALE, Empty, WriteReply
from chowk.server.rpc.context import ServerContext

PART_BYTES: Final = 256 * 1024
CHUNK_BYTES_MAX: Final = 256 * 1024
"""Of one piece of a restore: one entry of the log."""
SAVES_MAX: Final = 4
"""Snapshots on their way out; more are refused."""
ID_CHARS_MAX: Final = 64


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.gate.serve_stream(SNAPSHOT_SAVE, partial(_save, context, asyncio.Semaphore(SAVES_MAX)))
    context.leader.serve(SNAPSHOT_CHUNK, partial(_stage, context), is_repeatable=True)
    context.leader.serve(SNAPSHOT_FINISH, partial(_finish, context), is_repeatable=True)


async def _save(context: ServerContext, room: asyncio.Semaphore, query: SnapshotQuery) -> AsyncIterator[SnapshotPart]:
    """Encoded twice, in a thread: the first time for the size and the checksum, so that neither this server nor whoever
    writes the archive has to hold the whole of it."""
    context.reads.check_datacenter(query.options.datacenter)
    if room.locked():
        raise TooManyRequests(f"{SAVES_MAX} snapshots are being saved already")
    async with room:
        await context.reads.settle(STALE if query.options.consistency == STALE else CONSISTENT)
        index, encode = context.machine.store.index, context.machine.snapshot()
        configuration_index, servers = context.consensus.configuration()
        term = int(context.consensus.stats().get("term", "0"))
        size, digest = await asyncio.to_thread(_measure, encode)
        yield SnapshotPart(
            index=index,
            term=term,
            configuration_index=configuration_index,
            servers=servers,
            size=size,
            sha256=digest,
        )
        chunks = iter(encode())
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            for part in _cut(chunk):
                yield SnapshotPart(data=part)


def _measure(encode: Callable[[], Iterable[bytes]]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    for chunk in encode():
        size += len(chunk)
        digest.update(chunk)
    return size, digest.hexdigest()


def _cut(chunk: bytes) -> Iterator[bytes]:
    for start in range(0, len(chunk), PART_BYTES):
        yield chunk[start : start + PART_BYTES]


async def _stage(context: ServerContext, chunk: RestoreChunk) -> Empty:
    _check_id(chunk.id)
    if chunk.number < 0 or len(chunk.data) > CHUNK_BYTES_MAX:
        raise InvalidRequest(f"a piece of a snapshot has a number from 0 and at most {CHUNK_BYTES_MAX} bytes")
    await _propose(context, StageRestore(id=chunk.id, number=chunk.number, data=chunk.data))
    return Empty()


async def _finish(context: ServerContext, finish: RestoreFinish) -> WriteReply:
    """Applied once: the restore's id is the session of its one last write."""
    _check_id(finish.id)
    command = FinishRestore(id=finish.id, chunks=finish.chunks, sha256=finish.sha256, abandon=finish.abandon)
    return await _propose(context, command, "" if finish.abandon else f"restore-{finish.id}", 1)


async def _propose(
    context: ServerContext, command: StageRestore | FinishRestore, client: str = "", sequence: int = 0
) -> WriteReply:
    try:
        reply = await context.writes.propose(command, client, sequence)
    except InternalError as error:
        raise InvalidRequest(str(error)) from error
    if not reply.ok:
        # A retry of what was refused the first time: the reason is not kept.
        raise InvalidRequest("this snapshot was refused: nothing was changed")
    return reply


def _check_id(id: str) -> None:
    if not 0 < len(id) <= ID_CHARS_MAX:
        raise InvalidRequest(f"a restore has an id of 1 to {ID_CHARS_MAX} characters")
