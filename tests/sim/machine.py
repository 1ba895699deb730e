"""A small replicated state machine with the server's own rule of retries (`server.state.sessions`).

Registers by key: write, compare-and-set. Its events are what watchers see.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from chowk.core.commands import Applied
from chowk.server.state.sessions import Forgotten, Sessions

EVENTS_MAX: Final = 40
"""Events a server keeps for watchers that come back; one that is further behind gets all of the state."""


class Command(msgspec.Struct, frozen=True, array_like=True):
    """Write `value` to `key`; if `expected` is not None, only when that is there now."""

    client: str
    sequence: int
    key: str
    value: int
    expected: int | None = None


class Event(msgspec.Struct, frozen=True, array_like=True):
    """What changed at an index."""

    index: int
    key: str
    value: int


class State(msgspec.Struct, frozen=True, array_like=True):
    """A snapshot: everything, and a digest of all entries that led to it."""

    index: int
    digest: int
    registers: dict[str, int]
    sessions: list[tuple[str, int, int, bool]]


class Register:
    """The state machine of one server."""

    def __init__(self) -> None:
        self.index = 0
        self.digest = 0
        self.registers: dict[str, int] = {}
        self.sessions = Sessions()
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self.events_after = 0
        """The events hold all that changed after this index."""
        self.effect: Command | None = None
        """The command of the last entry, if it was performed now and not before."""

    def note(self, index: int, term: int, kind: int, data: bytes) -> None:
        """An entry was applied here: it moves index and digest."""
        self.index = index
        self.digest = zlib.crc32(data, zlib.crc32(b"%d %d %d" % (index, term, kind), self.digest))
        self.effect = None

    def apply(self, index: int, data: bytes) -> Applied:
        """A command's result; a retry's is that of the first time."""
        command = msgspec.msgpack.decode(data, type=Command)
        known = self.sessions.recall(command.client, command.sequence)
        if isinstance(known, Forgotten):
            return Applied(index=index, ok=False)
        if known is not None:
            return known
        ok = command.expected is None or self.registers.get(command.key, 0) == command.expected
        if ok:
            self.registers[command.key] = command.value
            if len(self.events) == EVENTS_MAX:
                self.events_after = self.events[0].index
            self.events.append(Event(index, command.key, command.value))
        result = Applied(index=index, ok=ok)
        self.sessions.remember(command.client, command.sequence, result)
        self.effect = command
        return result

    def frozen(self) -> bytes:
        """All of it."""
        rows = sorted(self.sessions.rows())
        return msgspec.msgpack.encode(State(self.index, self.digest, dict(sorted(self.registers.items())), rows))

    def restore(self, chunks: Iterable[bytes]) -> State:
        """Become what a snapshot says."""
        state = msgspec.msgpack.decode(b"".join(chunks), type=State)
        self.index, self.digest, self.registers = state.index, state.digest, dict(state.registers)
        self.sessions = Sessions()
        self.sessions.load(sorted(state.sessions, key=lambda row: row[1]))
        self.events.clear()
        self.events_after = state.index
        return state
