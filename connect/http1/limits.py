"""The most that one HTTP message may ask of a proxy. Read by every module of this room; the shell may pass smaller ones."""

from __future__ import annotations

from typing import Final

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes. What is over one of them is refused with the status named there; nothing is ever cut short."""

    head_bytes_max: int = 64 * 1024
    """Start line and headers together, with the empty line: 431."""
    headers_max: int = 100
    """Header lines of a head: 431."""
    target_bytes_max: int = 8 * 1024
    """The request target: 414."""
    method_bytes_max: int = 32
    """The method: 501."""
    length_digits_max: int = 18
    """Digits of a Content-Length, so that it fits 63 bits everywhere: 400."""
    chunk_digits_max: int = 15
    """Hexadecimal digits of one chunk's size: 400."""
    chunk_extension_bytes_max: int = 256
    """Extensions of one chunk, which are read and dropped: 400."""
    extensions_bytes_max: int = 16 * 1024
    """Extensions of all chunks of a body: a flood of them is work without any content (CVE-2023-39326): 400."""
    trailer_bytes_max: int = 8 * 1024
    """The trailer section: 431."""
    trailers_max: int = 32
    """Trailer lines: 431."""


LIMITS: Final = Limits()
BETWEEN_PROXIES: Final = Limits(head_bytes_max=128 * 1024, headers_max=200, target_bytes_max=16 * 1024)
"""What one proxy takes from another: what the first let in has its headers, edits and rewrites now, and is not refused."""
