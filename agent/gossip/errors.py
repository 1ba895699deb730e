"""What a caller of the gossip core did wrong, and what came over the wire that is none of ours."""

from __future__ import annotations


class GossipError(ValueError):
    """A request that is refused, saying why; nothing changed."""


class MalformedPacket(Exception):
    """Bytes that are no packet or exchange of ours: garbage, truncated, oversized or out of bounds."""
