"""One HTTP request on one connection, sent once. Client libraries try an idempotent request again behind their caller's
back, and then say that the second try was refused: for a history the first one counts."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

TIMEOUT_S: Final = 12.0


class Refused(Exception):
    """Nobody listened: the request was surely not sent."""


class Lost(Exception):
    """It was sent, and there was no whole answer."""


async def send(
    address: tuple[str, int], method: str, path: str, query: str = "", body: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in small letters, body. Refused or Lost."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(*address), TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        raise Refused(str(error)) from error
    try:
        async with asyncio.timeout(TIMEOUT_S):
            target = quote(path) + (f"?{query}" if query else "")
            head = f"{method} {target} HTTP/1.1\r\nHost: {address[0]}\r\nConnection: close\r\n"
            writer.write(f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode())
            answer = await reader.read(-1)
    except (OSError, TimeoutError) as error:
        raise Lost(str(error)) from error
    finally:
        writer.transport.abort()
    return _parsed(answer)


def _parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, separator, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:])
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        body, whole = _joined(body)
    else:
        whole = len(body) == int(headers.get("content-length", "0"))
    if not separator or not whole:
        raise Lost("the answer was cut off")
    return int(lines[0].split()[1]), headers, body


def _joined(chunks: bytes) -> tuple[bytes, bool]:
    """The body that came in chunks, and whether the last one came."""
    body = b""
    while True:
        size, separator, rest = chunks.partition(b"\r\n")
        length = int(size, 16) if separator else -1
        if length <= 0:
            return body, length == 0
        body, chunks = body + rest[:length], rest[length + 2 :]
