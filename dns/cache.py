"""The wire cache: request bytes after the id -> ready replies, so that a repeated query costs a dictionary look-up.

An entry holds up to `order.TURNS_MAX` replies, the same records in different orders, shown in turn. It is dropped when
the lookup's generation of anything it rests on changes, when its records' TTL ends, and at the latest after
`LIFE_S_MAX`, so that orders are drawn anew. Generations are compared once after each change of any view, not for every
packet: `epoch` says that there was one. What rests on answers that age without any change (KINDS_OF_VIEWS) is compared
always. One cache a transport, since limits differ. Called by the responder.
"""

from __future__ import annotations

from collections.abc import Callable

from chowk.core.events import CONNECT, HEALTH, NODES, QUERIES, SERVICES
from chowk.dns.lookup import Lookup

ENTRIES_MAX = 4096
BYTES_MAX = 32 * 1024 * 1024
ANSWER_BYTES = 1024  # about what one instance's records take until all orders are built
ENTRY_BYTES_MAX = 128 * 1024  # so the largest replies (TCP) are kept in few orders
LIFE_S_MAX = 5.0

KINDS_OF_VIEWS = frozenset((CONNECT, HEALTH, NODES, QUERIES, SERVICES))
RESCUES_MAX = 16  # entries passed over, at one eviction, because they were asked for since they came to the front
_NEVER = -1


class Entry:
    """Replies without their id, the first already built; the others come from `build(turn)`, which makes whole packets."""

    __slots__ = ("_build", "_replies", "_turn", "_turns", "bytes_held", "compared_at", "expires_at", "marks", "used")

    def __init__(
        self,
        first: bytes,
        build: Callable[[int], bytes],
        turns: int,
        marks: tuple[tuple[str, str, int], ...],
        expires_at: float,
    ) -> None:
        self._build: Callable[[int], bytes] | None = build if turns > 1 else None
        self._turns = turns
        self._turn = 1 % turns
        self._replies = [first[2:]]
        self.bytes_held = len(first) * turns  # about: other orders may be cut elsewhere
        self.marks = marks
        self.expires_at = expires_at
        self.compared_at = _NEVER  # the epoch in which the marks were last seen to hold
        self.used = False  # asked for since it was put at the end

    def next_reply(self) -> bytes:
        """The reply whose turn it is, from its third byte on."""
        turn = self._turn
        self._turn = turn + 1 if turn + 1 < self._turns else 0
        if self._build is None:
            return self._replies[turn]
        reply = self._build(turn)[2:]
        self._replies.append(reply)
        if len(self._replies) == self._turns:
            self._build = None  # its records are no longer needed
        return reply


class WireCache:
    """Bounded by entries and bytes. When full the oldest goes, except that what was asked for meanwhile gets another
    round (CLOCK, Corbató 1968), so that a flood of random names does not push out those in use."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._entries: dict[bytes, Entry] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes_held(self) -> int:
        """About how much memory the entries take."""
        return self._bytes

    def get(self, packet: bytes, now: float) -> bytes | None:
        """The reply to `packet`, with its id; None when none is ready."""
        entry = self._entries.get(packet[2:])
        if entry is None:
            return None
        if now < entry.expires_at and (entry.compared_at == self._lookup.epoch or self._holds(entry)):
            entry.used = True
            return packet[:2] + entry.next_reply()
        self._drop(packet[2:])
        return None

    def put(self, packet: bytes, entry: Entry, instances: int) -> None:
        """Keep `entry`, made of so many instances, for the packets that equal this one but for the id."""
        key = packet[2:]
        self._drop(key)
        entry.bytes_held += len(key) + instances * ANSWER_BYTES
        rescues = RESCUES_MAX
        while self._entries and (len(self._entries) >= ENTRIES_MAX or self._bytes + entry.bytes_held > BYTES_MAX):
            oldest = next(iter(self._entries))
            if rescues and self._entries[oldest].used:
                rescues -= 1
                again = self._entries.pop(oldest)
                again.used = False
                self._entries[oldest] = again
            else:
                self._drop(oldest)
        self._entries[key] = entry
        self._bytes += entry.bytes_held

    def clear(self) -> None:
        """Forget everything: the settings changed."""
        self._entries.clear()
        self._bytes = 0

    def _holds(self, entry: Entry) -> bool:
        """Are the generations that the entry rests on those of now?"""
        epoch, ages = self._lookup.epoch, False
        for kind, key, mark in entry.marks:
            if self._lookup.generation(kind, key) != mark:
                return False
            ages = ages or kind not in KINDS_OF_VIEWS
        if not ages:
            entry.compared_at = epoch
        return True

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.bytes_held
