"""Request ids: kept when they are fit for logs, made when not. Used by `forwarding` and the shell."""

from __future__ import annotations

import re
from typing import Final

_REQUEST_ID: Final = re.compile(rb"[0-9A-Za-z_.:+/=@-]{1,128}")


def is_request_id(value: bytes) -> bool:
    """Whether a caller's id may go on and into logs: short, and nothing in it that a log or a shell would interpret."""
    return _REQUEST_ID.fullmatch(value) is not None


def request_id(bits: int) -> bytes:
    """A UUID of version 4 (RFC 9562 section 5.4) of 128 random bits, as Envoy makes them."""
    digits = b"%032x" % (bits & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62)
    return b"%b-%b-%b-%b-%b" % (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
