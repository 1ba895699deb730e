"""Large replies, written in pieces as the client takes them: aiohttp would copy a body whole, once for each client that does
not read. Called by `app` for every reply.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

PIECE_BYTES: Final = 128 * 1024
"""Of a reply, waiting for one client beyond what the kernel has."""


async def in_pieces(http: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """The reply, already sent when it is large."""
    if not isinstance(response, web.Response) or http.method == "HEAD":
        return response
    body = response.body
    if not isinstance(body, bytes) or len(body) <= PIECE_BYTES:
        return response
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(body)
    await stream.prepare(http)
    rest = memoryview(body)
    for start in range(0, len(body), PIECE_BYTES):
        await stream.write(rest[start : start + PIECE_BYTES])
    await stream.write_eof()
    return stream
