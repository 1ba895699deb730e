"""A request sent twice, on the short way and on the long one, so that their answers can be compared."""

from __future__ import annotations

import asyncio
import re

from support.http_api import Api

ELSEWHERE = b"GET /v1/nope HTTP/1.1\r\nHost: x\r\n\r\n"
"""After any other request a connection is aiohttp's."""


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    """One answer, whole, without its date."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None
    return re.sub(rb"Date: [^\r]*", b"Date", head) + await reader.readexactly(int(length[1]))


async def both_ways(api: Api, request: bytes) -> tuple[bytes, bytes]:
    answers = []
    for first in (b"", ELSEWHERE):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.http.port)
        if first:
            writer.write(first)
            await answer_of(reader)
        writer.write(request)
        answers.append(await answer_of(reader))
        writer.close()
    return answers[0], answers[1]
