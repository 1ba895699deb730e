"""Content codings of replies: gzip and deflate, when the client asks for one and there is something to gain.

Called by `app` for every reply, and by those who keep what they compressed. RFC 9110, section 12.5.3.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from aiohttp import web

BYTES_MIN: Final = 1400
"""Smaller bodies go in one packet as they are."""
THREAD_BYTES: Final = 32 * 1024
"""Larger ones are compressed in a thread: this many take the loop less than a millisecond."""
LEVEL: Final = 3
ACCEPT_CHARS_MAX: Final = 256

_WINDOW: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_TYPES: Final = frozenset({"application/json", "text/plain"})


def choose(accept: str) -> str:
    """The coding for an `Accept-Encoding`: "gzip", "deflate", or "" for none. What cannot be understood asks for none."""
    weights: dict[str, float] = {}
    for part in accept[:ACCEPT_CHARS_MAX].lower().split(","):
        name, _, parameter = part.partition(";")
        weight = parameter.strip().removeprefix("q=") if parameter else "1"
        try:
            weights[name.strip()] = float(weight)
        except ValueError:
            return ""
    rest = weights.get("*", 0.0)
    best = max(_WINDOW, key=lambda name: weights.get(name, rest))  # the first of equals: gzip
    weight_best = weights.get(best, rest)
    return best if weight_best > 0 and weight_best >= weights.get("identity", 0.0) else ""


def compress(data: bytes, encoding: str) -> bytes:
    """`data` in a coding that `choose` named."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _WINDOW[encoding])
    return packer.compress(data) + packer.flush()


async def compressed(data: bytes, encoding: str) -> bytes:
    """As `compress`, without holding up the loop."""
    if len(data) <= THREAD_BYTES:
        return compress(data, encoding)
    return await asyncio.to_thread(compress, data, encoding)


class Stream:
    """A body in a coding, or in none (""), made while its parts come."""

    def __init__(self, encoding: str) -> None:
        self._packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _WINDOW[encoding]) if encoding else None

    async def add(self, data: bytes) -> bytes:
        """What can be written once `data` is there too; maybe nothing. It does not hold up the loop."""
        if self._packer is None:
            return data
        if len(data) <= THREAD_BYTES:
            return self._packer.compress(data)
        return await asyncio.to_thread(self._packer.compress, data)

    def end(self) -> bytes:
        """What is left to write."""
        return b"" if self._packer is None else self._packer.flush()


async def encode(http: web.Request, response: web.StreamResponse) -> None:
    """Put the reply into the coding that the request asks for, unless it is small, streamed, or in one already."""
    accept = http.headers.get("Accept-Encoding", "")
    if not accept or not isinstance(response, web.Response) or response.content_type not in _TYPES:
        return
    body = response.body
    if not isinstance(body, bytes) or len(body) < BYTES_MIN or "Content-Encoding" in response.headers:
        return
    encoding = choose(accept)
    if encoding:
        response.body = await compressed(body, encoding)
        response.headers["Content-Encoding"] = encoding
