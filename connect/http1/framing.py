"""How long a message's body is (RFC 9112 section 6.3). Built by `heads`, followed by `body`."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec


class Kind(Enum):
    """Where a body ends."""

    NONE = "none"
    """There is no body."""
    LENGTH = "length"
    """After as many bytes as announced."""
    CHUNKED = "chunked"
    """With the chunk of size 0 and its trailers."""
    CLOSE = "close"
    """With the connection; responses only."""
    TUNNEL = "tunnel"
    """The connection is HTTP no longer: bytes flow both ways until it ends (101, or 2xx to CONNECT)."""


class Framing(msgspec.Struct, frozen=True):
    """`length` counts for `Kind.LENGTH` only."""

    kind: Kind
    length: int = 0


NONE: Final = Framing(Kind.NONE)
CHUNKED: Final = Framing(Kind.CHUNKED)
CLOSE: Final = Framing(Kind.CLOSE)
TUNNEL: Final = Framing(Kind.TUNNEL)
