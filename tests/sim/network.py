"""The network between servers: it drops, doubles, delays and reorders messages, and is cut in any direction."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec
from sim.agenda import Agenda
from sim.profile import Profile

from chowk.server.raft.messages import Message

LATE_S: Final = 4.0
"""The most a late message is delayed."""
CALM_DELAY_S: Final = 0.05
"""The most a message takes when nothing is wrong."""
SNAPSHOT_TIMEOUT_S: Final = 1.0
"""How long a sender waits for a chunk of a snapshot to be taken."""
UNKNOWN_FIELD: Final = "field_of_a_newer_version"


class Network:
    """`deliver` is called with each message that arrives."""

    def __init__(self, agenda: Agenda, profile: Profile, rng: random.Random) -> None:
        self._agenda = agenda
        self._profile = profile
        self._rng = rng
        self.cuts: set[tuple[str, str]] = set()
        """(from, to) pairs that nothing passes."""
        self.drop = profile.drop
        self.delay_s = profile.delay_s
        self.is_calm = False

    def calm(self) -> None:
        """Everything passes from now on, in time."""
        self.cuts.clear()
        self.drop, self.is_calm = 0.0, True
        self.delay_s = min(self.delay_s, CALM_DELAY_S)

    def is_cut(self, sender: str, target: str) -> bool:
        """Whether nothing passes now."""
        return (sender, target) in self.cuts

    def delay(self) -> float:
        """How long one message takes."""
        if not self.is_calm and self._rng.random() < self._profile.late:
            return self._rng.uniform(0.0, LATE_S)
        return self._rng.uniform(0.2, 1.0) * self.delay_s

    def send(self, message: Message, deliver: Callable[[Message], None]) -> None:
        """It arrives once, twice or never; it must find the way open when it is sent and when it arrives."""
        if self.is_cut(message.sender, message.target) or self._rng.random() < self.drop:
            return
        if self._profile.wire:
            message = over_the_wire(message)
        self._agenda.after(self.delay(), self._arrive, message, deliver)
        if not self.is_calm and self._rng.random() < self._profile.duplicate:
            self._agenda.after(self.delay() * 2, self._arrive, message, deliver)

    def _arrive(self, message: Message, deliver: Callable[[Message], None]) -> None:
        if not self.is_cut(message.sender, message.target):
            deliver(message)

    def stream(
        self, sender: str, target: str, chunks: int, arrived: Callable[[], None], ended: Callable[[bool], None]
    ) -> None:
        """Send so many chunks in order; `arrived` at the target after the last, `ended` at the sender if one is lost."""

        def chunk(number: int) -> None:
            if self.is_cut(sender, target) or self._rng.random() < self.drop:
                self._agenda.after(SNAPSHOT_TIMEOUT_S, ended, False)
            elif number < chunks:
                self._agenda.after(self.delay(), chunk, number + 1)
            else:
                arrived()
                if not self.is_calm and self._rng.random() < self._profile.duplicate:
                    self._agenda.after(self._rng.uniform(0.0, LATE_S), arrived)

        self._agenda.after(self.delay(), chunk, 1)


def over_the_wire(message: Message) -> Message:
    """As a server of this version reads what a newer one sent: fields that it does not know are passed over."""
    fields: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
    fields[UNKNOWN_FIELD] = ["anything"]
    return msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=Message)
