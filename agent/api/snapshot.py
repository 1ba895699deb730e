"""`/v1/snapshot`: the whole state of the servers as an archive (core.archive), out and in.

Neither is ever in memory as a whole. One that is restored is kept in a file without a name until it has been verified to its
last byte; only then the servers hear of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from contextlib import aclosing
from typing import IO, Final
from uuid import uuid4

import structlog
from aiohttp import web

from chowk.agent.api.errors import bad_request, too_large
from chowk.agent.api.replies import empty_reply, set_meta
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.core.archive import (
    ARCHIVE_BYTES_MAX,
    VERSION,
    ArchiveMeta,
    ArchiveWriter,
    BadArchive,
    state_pieces,
    verify,
)  # fmt: skip
from chowk.core.errors import ChowkError, DeadlineExceeded, NoLeader, OutcomeUnknown, Unavailable
from chowk.core.operator_requests import (
    SNAPSHOT_CHUNK,
    SNAPSHOT_FINISH,
    SNAPSHOT_SAVE,
    RestoreChunk,
    RestoreFinish,
    SnapshotPart,
    SnapshotQuery,
)  # fmt: skip
from chowk.core.requests import QueryMeta

log = structlog.get_logger("chowk.snapshot")
PART_TIMEOUT_S: Final = 60.0
"""For the first part the servers encode everything once."""
READ_BYTES: Final = 256 * 1024
READ_TIMEOUT_S: Final = 60.0
FINISH_TIMEOUT_S: Final = 60.0


async def save(request: ApiRequest) -> web.StreamResponse:
    """The state at one index; with `?stale` as this agent's server has it, else as the leader has it now."""
    query = SnapshotQuery(options=request.read_options())
    async with aclosing(request.context.client.stream(SNAPSHOT_SAVE, query, timeout_s=PART_TIMEOUT_S)) as parts:
        first = await anext(parts, None)
        if first is None:
            raise Unavailable("the server did not say what it saves")
        response = web.StreamResponse()
        response.content_type = "application/x-gzip"
        set_meta(response, QueryMeta(index=first.index))
        await response.prepare(request.http)
        if request.http.method == "HEAD":
            return response
        writer = ArchiveWriter(_meta_of(first), first.sha256)
        try:
            await response.write(writer.begin())
            async for part in parts:
                await response.write(await asyncio.to_thread(writer.add, part.data))
            await response.write(writer.end())
        except (ChowkError, BadArchive) as error:
            # The status is sent already: an answer without its end is how the other side knows.
            log.error("a snapshot could not be saved to its end", error=str(error))
            if request.http.transport is not None:
                request.http.transport.abort()
            return response
    await response.write_eof()
    return response


def _meta_of(part: SnapshotPart) -> ArchiveMeta:
    return ArchiveMeta(
        id=f"{part.term}-{part.index}-{int(time.time() * 1000)}",
        index=part.index,
        term=part.term,
        version=VERSION,
        size=part.size,
        configuration_index=part.configuration_index,
        configuration=part.servers,
    )


async def restore(request: ApiRequest) -> web.StreamResponse:
    """Replace the state of all servers by that of the archive in the body."""
    with tempfile.TemporaryFile(prefix="chowk-restore-") as file:
        try:
            await _receive(request, file)
            file.seek(0)
        except OSError as error:
            raise Unavailable(f"the snapshot cannot be kept until it is verified: {error.strerror or error}") from error
        try:
            meta = await asyncio.to_thread(verify, file)
        except BadArchive as error:
            raise bad_request(f"failed to read the snapshot: {error}. Nothing was changed") from None
        file.seek(0)
        index = await _restore(request, file)
    log.warning("the servers' state was replaced by a snapshot", id=meta.id, of_index=meta.index, index=index)
    return empty_reply()


async def _receive(request: ApiRequest, file: IO[bytes]) -> None:
    announced = request.http.content_length or 0
    if announced > ARCHIVE_BYTES_MAX:
        raise too_large(announced, ARCHIVE_BYTES_MAX)
    size = 0
    while True:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                data = await request.http.content.read(READ_BYTES)
        except TimeoutError:
            raise bad_request(f"the snapshot did not arrive: nothing came in {READ_TIMEOUT_S:g}s") from None
        if not data:
            return
        size += len(data)
        if size > ARCHIVE_BYTES_MAX:
            raise too_large(size, ARCHIVE_BYTES_MAX)
        await asyncio.to_thread(file.write, data)


async def _restore(request: ApiRequest, file: IO[bytes]) -> int:
    """Send the pieces, then say that these are all: until then nothing has changed. The index of the change."""
    client, restore_id = request.context.client, uuid4().hex
    digest, number = hashlib.sha256(), 0
    pieces = state_pieces(file)
    try:
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            digest.update(piece)
            chunk = RestoreChunk(id=restore_id, number=number, data=piece, token=request.token)
            try:
                await client.call(SNAPSHOT_CHUNK, chunk)
            except (NoLeader, Unavailable, OutcomeUnknown, DeadlineExceeded) as error:
                raise Unavailable(f"the restore was cut off: {error}. Nothing was changed: run it again") from error
            number += 1
        finish = RestoreFinish(id=restore_id, chunks=number, sha256=digest.hexdigest(), token=request.token)
        reply = await client.call(SNAPSHOT_FINISH, finish, timeout_s=FINISH_TIMEOUT_S)
    except ChowkError:
        await _abandon(request, restore_id)
        raise
    return reply.index


async def _abandon(request: ApiRequest, restore_id: str) -> None:
    """So that the servers need not keep the pieces until they find out by themselves."""
    try:
        await request.context.client.call(
            SNAPSHOT_FINISH, RestoreFinish(id=restore_id, abandon=True, token=request.token), timeout_s=2.0
        )
    except ChowkError as error:
        log.debug("the servers still keep the pieces of a restore", error=str(error))


ROUTES: Final = (
    Route(("GET",), "/v1/snapshot", save, "snapshot:read"),
    Route(("PUT",), "/v1/snapshot", restore, "snapshot:write"),
)
